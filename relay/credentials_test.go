package relay

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCredentialsPrintAsNothing(t *testing.T) {
	c := Credentials{Authorization: "Bearer s3cr3t", Certificate: []byte("s3cr3t"), Key: []byte("s3cr3t")}
	text, err := json.Marshal(map[string]any{"value": c, "pointer": &c})
	require.NoError(t, err)
	m := Message{Credentials: &c}
	for _, printed := range []string{string(text), fmt.Sprint(c), fmt.Sprintf("%v %+v %#v %s %q", c, c, c, c, c), fmt.Sprintf("%+v", &c), fmt.Sprintf("%+v %#v", m, m)} {
		require.NotContains(t, printed, "s3cr3t")
	}
	c.Forget()
	require.NotContains(t, string(c.Key), "s3cr3t")
	var none *Credentials
	none.Forget()
}

// What is sealed has a version of its own, is bounded, and never has the opened
// form beside it.
func TestEnvelopeOfWhatIsSealed(t *testing.T) {
	m := sample()
	m.Sealed, m.SealedTo, m.Encryption, m.Print = strings.Repeat("A", MaxSealed), "abc,def", EncryptionAge, "print"
	m.Credentials = &Credentials{Authorization: "Bearer s3cr3t"}
	h, err := EncodeEnvelope(m)
	require.NoError(t, err)
	require.Equal(t, []string{"3"}, h[hdrVersion])
	require.NotContains(t, fmt.Sprint(h), "s3cr3t")
	got, err := DecodeEnvelope(h, m.Body)
	require.NoError(t, err)
	require.Equal(t, []string{m.Sealed, m.SealedTo, m.Encryption, m.Print}, []string{got.Sealed, got.SealedTo, got.Encryption, got.Print})
	require.True(t, got.IsSealed())

	m.Object, m.Size = ObjectName(FreshObject(), 3), 3<<20
	h, err = EncodeEnvelope(m)
	require.NoError(t, err)
	got, err = DecodeEnvelope(h, nil)
	require.NoError(t, err)
	require.Equal(t, m.Object, got.Object)
	require.EqualValues(t, 3<<20, got.Size)

	for name, change := range map[string]func(){
		"another encryption": func() { h[hdrEncryption] = []string{"rot13"} },
		"more than it may":   func() { h[hdrEncryption], h[hdrSealed] = []string{EncryptionAge}, []string{m.Sealed + "A"} },
	} {
		change()
		_, err = DecodeEnvelope(h, nil)
		require.ErrorIs(t, err, ErrEnvelope, name)
	}
	m.Sealed += "A"
	_, err = EncodeEnvelope(m)
	require.Equal(t, CodeTooLarge, CodeOf(err))
}

func TestNoValueIsSetInASealedBody(t *testing.T) {
	m := sample()
	m.Encryption = EncryptionAge
	err := Edit{Set: []Replacement{{Pointer: "/a", Value: json.RawMessage("1")}}}.Apply(m, Route{})
	require.ErrorContains(t, err, "sealed")
	require.NoError(t, Edit{Header: map[string]string{"Accept": "text/plain"}}.Apply(m, Route{}), "its headers are in clear")
}

// An attempt whose body cannot be read is given up only where that stays so.
func TestUnreadBody(t *testing.T) {
	for err, want := range map[error]string{ErrDamaged: ReasonDamaged, ErrUndecryptable: ReasonUndecryptable} {
		r := UnreadBody(fmt.Errorf("%w: so", err))
		require.Equal(t, []any{ClassRejected, want}, []any{r.Class, r.Reason})
		require.True(t, Unreadable(err))
	}
	away := errors.New("the broker is away")
	require.Equal(t, ClassUnavailable, UnreadBody(away).Class)
	require.False(t, Unreadable(away))
}

// Any part of a secret tells of it, wherever in it, and however it was written.
func TestATextThatRepeatsASecretIsWithheld(t *testing.T) {
	for authorization, texts := range map[string]map[string]bool{
		"Bearer s3cr3t-t0ken":      {"no: s3cr3t-t0ken": true, "no: …t-t0ken": true, "no: s3cr3": false, "Bearer": false, "": false},
		"Basic YWNtZTpwYTU1dzByZA": {"no: pa55w0rd": true, "no: YWNtZTpwYTU1": true, "no acme": false}, // without padding
		"t0ken":                    {"no: t0ken": true, "no: t0ke": false},
		"":                         {"no": false},
	} {
		for text, kept := range texts {
			require.Equal(t, kept, Credentials{Authorization: authorization}.Withhold(text) != text, "%s: %s", authorization, text)
		}
	}
}

func TestRecipientsOfADrainAreBounded(t *testing.T) {
	require.NoError(t, CheckRecipients([]string{"age1" + strings.Repeat("q", 58)}))
	for name, wrong := range map[string][]string{
		"too many": make([]string, MaxRecipients+1), "no key": {"ssh-ed25519 AAAA"}, "too long": {"age1" + strings.Repeat("q", maxRecipientLen)}, "a line break": {"age1\nq"},
	} {
		require.Error(t, CheckRecipients(wrong), name)
	}
}

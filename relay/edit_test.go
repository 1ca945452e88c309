package relay

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func editable() (*Message, Route) {
	body := []byte(`{"name":"OLD.example.com", "n":1.0}`)
	m := &Message{Route: "facts", Lane: "old.example.com", Key: "k", ContentType: "text/plain", Accept: "*/*", Path: "/api/hosts/facts?a=b",
		Header: map[string]string{"X-Rhn-Provisioning-Mac-0": "eth0 aa"}, Body: body, Digest: DigestOf(body)}
	return m, Route{Name: "facts", Paths: []string{"/api/hosts/facts"}, Keep: []string{"X-Rhn-Provisioning-Mac-*", "Exact"}, MaxBody: 100,
		Lane: LaneRule{From: []Source{Pointer("/name")}}}
}

// Digest and lane follow from a body that was edited, and the key, which names
// the request as it was, is gone.
func TestAnEditMakesAnotherRequest(t *testing.T) {
	m, r := editable()
	kept := m.Header
	require.NoError(t, Edit{Header: map[string]string{"content-type": "application/json", "Accept": "", "x-rhn-provisioning-mac-1": "eth1 bb", "exact": "e", "X-Rhn-Provisioning-Mac-0": ""},
		Set: []Replacement{{"/name", json.RawMessage(`"New.example.com"`)}, {"/more", json.RawMessage(`[]`)}}}.Apply(m, r))
	require.Equal(t, `{"name":"New.example.com", "n":1.0,"more":[]}`, string(m.Body))
	require.Equal(t, DigestOf(m.Body), m.Digest)
	require.Equal(t, []string{"new.example.com", "", "application/json", ""}, []string{m.Lane, m.Key, m.ContentType, m.Accept})
	require.Equal(t, map[string]string{"X-Rhn-Provisioning-Mac-1": "eth1 bb", "Exact": "e"}, m.Header)
	require.Len(t, kept, 1, "the letter's own headers are left alone")

	m, r = editable()
	require.NoError(t, Edit{}.Apply(m, r))
	require.Equal(t, "k", m.Key, "nothing was changed")
	require.NoError(t, Edit{Set: []Replacement{{"/name", json.RawMessage(`7`)}}}.Apply(m, r))
	require.Equal(t, "old.example.com", m.Lane, "where the body says none, the lane stays")
}

func TestAnEditIsRefused(t *testing.T) {
	set := func(pointer, value string) Edit {
		return Edit{Set: []Replacement{{pointer, json.RawMessage(value)}}}
	}
	for name, c := range map[string]struct {
		edit   Edit
		change func(*Message)
		code   Code
		want   string
	}{
		"a header that does not travel": {Edit{Header: map[string]string{"authorization": "x"}}, nil, CodeInvalid,
			`header Authorization does not travel with messages of route "facts"; what can be set is Content-Type, Accept, X-Rhn-Provisioning-Mac-*, Exact`},
		"a line break":    {Edit{Header: map[string]string{"Accept": "a\r\nb"}}, nil, CodeMalformed, "printable ASCII"},
		"no JSON":         {set("/a", `1`), func(m *Message) { m.Body = []byte("<xml/>") }, CodeInvalid, "the body is no JSON"},
		"encoded":         {set("/a", `1`), func(m *Message) { m.ContentEncoding = "gzip" }, CodeInvalid, "the body is encoded (gzip)"},
		"nowhere":         {set("/a/b", `1`), nil, CodeInvalid, "leads nowhere"},
		"larger":          {set("/a", `"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"`), nil, CodeTooLarge, `route "facts" takes 100`},
		"too many values": {Edit{Set: make([]Replacement, 33)}, nil, CodeMalformed, "at most 32 headers and 32 values"},
	} {
		m, r := editable()
		if c.change != nil {
			c.change(m)
		}
		err := c.edit.Apply(m, r)
		require.Equal(t, c.code, CodeOf(err), name)
		require.ErrorContains(t, err, c.want, name)
	}
}

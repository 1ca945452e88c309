package seal_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/seal"
)

// destination answers as it is told and remembers what it was given.
type destination struct {
	result relay.Result
	got    []relay.Message
}

func (d *destination) Deliver(_ context.Context, m *relay.Message) relay.Result {
	copied := *m
	if m.Credentials != nil {
		c := *m.Credentials
		c.Key = bytes.Clone(c.Key)
		copied.Credentials = &c
	}
	d.got = append(d.got, copied)
	return d.result
}

func (d *destination) Probe(context.Context) error { return nil }

func decoded(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	require.NoError(t, err)
	return b
}

func encoded(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func TestAnAttemptSeesTheOpenedMessage(t *testing.T) {
	keys, d := ring(t), &destination{result: relay.Result{Class: relay.ClassDelivered, Status: 201}}
	opening := &seal.Destination{Destination: d, Keys: keys, Log: zerolog.Nop()}
	plain, m := message("in clear"), message("the body")
	require.NoError(t, sealer(keys).SealCredentials(t.Context(), m, token))
	require.NoError(t, sealer(keys).SealBody(t.Context(), m))
	for _, one := range []*relay.Message{plain, m} {
		require.Equal(t, relay.ClassDelivered, opening.Deliver(t.Context(), one).Class)
	}
	require.Equal(t, "in clear", string(d.got[0].Body))
	require.Nil(t, d.got[0].Credentials)
	require.Equal(t, "the body", string(d.got[1].Body))
	require.Equal(t, token.Authorization, d.got[1].Credentials.Authorization)
}

// A letter, not a crash: nothing is sent, and the others go on.
func TestWhatCannotBeOpenedIsGivenUp(t *testing.T) {
	d := &destination{}
	m := message("the body")
	require.NoError(t, sealer(ring(t)).SealBody(t.Context(), m))
	r := (&seal.Destination{Destination: d, Keys: ring(t), Log: zerolog.Nop()}).Deliver(t.Context(), m)
	require.Equal(t, relay.ClassRejected, r.Class)
	require.Equal(t, relay.ReasonUndecryptable, r.Reason)
	require.Contains(t, r.Detail, m.SealedTo)
	require.Empty(t, d.got)
	for _, poison := range relay.Poisons() {
		p := relay.DefaultPolicy()
		p.OnPoison = poison
		o := relay.Decide(p, relay.Attempt{Accepted: noon}, r, noon, 0.5)
		require.Equal(t, relay.Outcome{State: relay.Dead, Reason: relay.ReasonUndecryptable, Counted: true}, o, "a lost key discards nothing and pauses nothing")
	}
}

// Opening a large body is a part of the attempt: an edge that does not give it holds
// up no other message, and nothing is sent when the attempt should long be over.
func TestOpeningEndsWithTheAttempt(t *testing.T) {
	keys, d := ring(t), &destination{}
	m := large(strings.Repeat("x", 200_000))
	require.NoError(t, sealer(keys).SealBody(t.Context(), m))
	m, _ = stored(t, m)
	m.Open = func(ctx context.Context) (io.ReadCloser, error) {
		if _, bounded := ctx.Deadline(); !bounded {
			return nil, errors.New("this would never end")
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	r := (&seal.Destination{Destination: d, Keys: keys, Longest: time.Millisecond, Log: zerolog.Nop()}).Deliver(t.Context(), m)
	require.Equal(t, []any{relay.ClassUnavailable, relay.ClassOutage}, []any{r.Class, r.Confirmed}, "as if it had not been tried")
	require.Contains(t, r.Detail, "deadline")
	require.Empty(t, d.got)
}

// The edge stores the answer: it must not repeat there what is sealed.
func TestAnswersThatRepeatWhatIsSealedAreKeptBack(t *testing.T) {
	keys := ring(t)
	basic := relay.Credentials{Authorization: "Basic " + encoded([]byte("admin:pa55w0rd!"))}
	for name, c := range map[string]struct {
		credentials relay.Credentials
		body        bool
		result      relay.Result
		kept        bool
	}{
		"an answer to a sealed body":      {body: true, result: relay.Result{Class: relay.ClassRejected, Status: 422, Detail: "no such host"}, kept: true},
		"a conversion of a sealed body":   {body: true, result: relay.Result{Class: relay.ClassRejected, Detail: "line 3: what it says"}, kept: true},
		"no answer to a sealed body":      {body: true, result: relay.Result{Class: relay.ClassUnavailable, Detail: "connection refused"}},
		"a damaged sealed body":           {body: true, result: relay.Result{Class: relay.ClassRejected, Reason: relay.ReasonDamaged, Detail: "piece 3"}},
		"an answer with the token":        {credentials: token, result: relay.Result{Class: relay.ClassRejected, Status: 401, Detail: "no: s3cr3t-t0ken-of-mine"}, kept: true},
		"an answer with half of it":       {credentials: token, result: relay.Result{Class: relay.ClassRejected, Status: 401, Detail: "no: s3cr3t…"}, kept: true},
		"an answer with the password":     {credentials: basic, result: relay.Result{Class: relay.ClassRejected, Status: 401, Detail: "not pa55w0rd!"}, kept: true},
		"an answer without any of it":     {credentials: token, result: relay.Result{Class: relay.ClassRejected, Status: 401, Detail: "Unauthorized"}},
		"an outage with credentials only": {credentials: token, result: relay.Result{Class: relay.ClassUnavailable, Detail: "connection refused"}},
	} {
		m := message("the body")
		if !c.credentials.Empty() {
			require.NoError(t, sealer(keys).SealCredentials(t.Context(), m, c.credentials))
		}
		if c.body {
			require.NoError(t, sealer(keys).SealBody(t.Context(), m))
		}
		r := (&seal.Destination{Destination: &destination{result: c.result}, Keys: keys, Log: zerolog.Nop()}).Deliver(t.Context(), m)
		require.Equal(t, c.kept, r.Detail != c.result.Detail, "%s: %s", name, r.Detail)
		require.NotEmpty(t, r.Detail, name)
		require.Equal(t, c.result.Class, r.Class, name)
	}
}

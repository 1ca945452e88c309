package cmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

func TestEnqueue(t *testing.T) {
	p := startServe(t)
	file := filepath.Join(t.TempDir(), "facts.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"name":"Web.example.com","facts":{"a":"b"}}`), 0o600))
	var r relay.Receipt
	p.read(&r, "enqueue", "default/foreman", file, "--route", "facts", "--key", "k1")
	require.False(t, r.Replayed)
	var s relay.MessageStatus
	p.read(&s, "message", "show", r.ID)
	require.Equal(t, []string{"facts", "web.example.com", "k1"}, []string{s.Route, s.Lane, s.Key})

	out, errs, code := p.ask("enqueue", "default/foreman", file, "--route", "facts", "--key", "k1")
	require.Zero(t, code, errs)
	require.Regexp(t, `(?m)^id +`+r.ID+`\nqueue +default/foreman\n`, out)
	require.Regexp(t, `(?m)^replayed +true$`, out)

	out, errs, code = p.ask("enqueue", "default/foreman", file, "--key", "k2", "--ordering-key", "Orders", "--content-type", "text/plain", "--path", "/x?y=1", "-q")
	require.Zero(t, code, errs)
	id := strings.TrimSpace(out)
	p.read(&s, "message", "show", id)
	require.Equal(t, []string{"message", "orders", "k2"}, []string{s.Route, s.Lane, s.Key})
	require.EqualValues(t, 2, p.accepted())
}

// TestEnqueueTimes: the flags are the headers, and what they did is shown.
func TestEnqueueTimes(t *testing.T) {
	p := startServe(t)
	file := filepath.Join(t.TempDir(), "m")
	require.NoError(t, os.WriteFile(file, []byte("x"), 0o600))
	out, errs, code := p.ask("enqueue", "default/foreman", file, "--not-before", "2h", "--expires", "3h", "--priority", "urgent", "-q")
	require.Zero(t, code, errs)
	id := strings.TrimSpace(out)
	var s relay.MessageStatus
	p.read(&s, "message", "show", id)
	require.Equal(t, relay.Scheduled, s.State)
	require.True(t, s.Urgent)
	require.Equal(t, time.Hour, s.Expires.Sub(*s.NotBefore))
	out, _, _ = p.ask("message", "show", id)
	require.Regexp(t, `(?m)^state +scheduled$`, out)
	require.Regexp(t, `(?m)^priority +urgent\nnot before +2\d{3}-`, out)
	out, _, _ = p.ask("message", "why", id)
	require.Contains(t, out, "It is due at ")
	out, _, _ = p.ask("message", "ls", "--state", "scheduled", "-o", "name")
	require.Equal(t, id+"\n", out)
	var q relay.QueueStatus
	p.read(&q, "queue", "show", "default/foreman")
	require.Equal(t, []uint64{1, 1}, []uint64{q.Pending, q.Scheduled})

	_, errs, code = p.ask("enqueue", "default/foreman", file, "--expires", "soon")
	require.Equal(t, 2, code)
	require.Contains(t, errs, `header Relay-Expires: "soon" is no time`)
}

// TestEnqueueDelivers to the path that was given.
func TestEnqueueDelivers(t *testing.T) {
	foreman := startForeman(t)
	p := startServe(t, "--foreman-url", foreman.URL())
	file := filepath.Join(t.TempDir(), "m")
	require.NoError(t, os.WriteFile(file, []byte(`{"name":"web","facts":{"a":"b"}}`), 0o600))
	out, errs, code := p.ask("enqueue", "default/foreman", file, "--path", "/api/v2/hosts/facts", "--content-type", "application/json", "-q")
	require.Zero(t, code, errs)
	p.awaitState(strings.TrimSpace(out), relay.Delivered)
	require.JSONEq(t, `{"a":"b"}`, string(foreman.Facts("web")))
	require.Equal(t, "/api/v2/hosts/facts", foreman.Requests()[0].Path)
}

func TestEnqueueFromStdin(t *testing.T) {
	for _, args := range [][]string{nil, {"-"}} {
		body, err := readMessage(strings.NewReader("\x00x"), args)
		require.NoError(t, err)
		require.Equal(t, "\x00x", string(body))
	}
	_, err := readMessage(zeros{}, nil)
	require.Equal(t, relay.CodeTooLarge, relay.CodeOf(err))
	require.ErrorContains(t, err, "8323072 bytes")
}

// zeros is a message without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestEnqueueWrongCalls(t *testing.T) {
	p := startServe(t)
	file := filepath.Join(t.TempDir(), "m")
	require.NoError(t, os.WriteFile(file, []byte(`{}`), 0o600))
	for call, c := range map[string]struct {
		code int
		says string
	}{
		"":                                   {exitUsage, "takes one queue and at most one file"},
		"x FILE":                             {exitUsage, "\"x\" is not a queue"},
		"default/foreman FILE FILE":          {exitUsage, "takes one queue and at most one file"},
		"default/foreman /nowhere":           {exitUsage, "the message: open /nowhere"},
		"nobody/foreman FILE":                {exitNotFound, "no queue nobody/foreman"},
		"default/foreman FILE --route x":     {exitUsage, "no route \"x\""},
		"default/foreman FILE --route facts": {exitUsage, "Foreman would refuse this for ever"},
		"default/foreman FILE --path x":      {exitUsage, "one slash"},
		"default/foreman FILE --route facts --ordering-key a": {exitUsage, "by itself"},
	} {
		out, errs, code := p.ask(append([]string{"enqueue"}, strings.Fields(strings.ReplaceAll(call, "FILE", file))...)...)
		require.Equal(t, c.code, code, "%s: %s", call, errs)
		require.Empty(t, out)
		require.Contains(t, errs, c.says)
	}
	require.Zero(t, p.accepted())
}

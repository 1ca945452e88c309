package cmd

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// Letters are looked at by cause, shown with what happened to them, and mended.
func TestTheStoryOfALetterThatIsMended(t *testing.T) {
	foreman := startForeman(t)
	p := startServe(t, "--foreman-url", foreman.URL())
	first, second := bury(p, `{"a":1}`), bury(p, `{"a":2}`)
	var causes []relay.Cause
	p.read(&causes, "dlq", "top")
	require.Len(t, causes, 1)
	require.Equal(t, []any{uint64(2), relay.GenericRoute, relay.ReasonRejected, 404, second}, []any{causes[0].Count, causes[0].Route, causes[0].Reason, causes[0].Status, causes[0].Example})
	out, errs, code := p.ask("dlq", "top")
	require.Zero(t, code, errs)
	require.Regexp(t, `(?m)^COUNT +ROUTE .*\n2 +message +rejected +404 `, out)
	require.Empty(t, errs)
	out, _, _ = p.ask("dlq", "top", "--reason", "max_age", "-o", "json")
	require.Equal(t, "[]\n", out)

	var l relay.DeadLetter
	p.read(&l, "dlq", "show", first)
	require.Len(t, l.History.Events, 1)
	out, _, _ = p.ask("dlq", "show", first)
	require.Regexp(t, `(?m)^last status +404$`, out)
	require.Regexp(t, `(?m)^AT +STATE +ATTEMPT .*\n\d{4}-.* dead +1 +404 +rejected `, out)

	_, errs, code = p.ask("dlq", "replay", first, "--set-header", "Cookie=x")
	require.Equal(t, exitUsage, code)
	require.Contains(t, errs, `header Cookie does not travel with messages of route "message"; what can be set is Content-Type, Accept`)
	out, errs, code = p.ask("dlq", "replay", first, "--set", `/a={"b": "<&>"}`, "--set-header", "Accept=text/plain", "-q")
	require.Zero(t, code, errs)
	again := strings.TrimSpace(out)
	p.awaitState(again, relay.Dead)
	out, _, _ = p.ask("dlq", "show", again, "--body")
	require.Equal(t, `{"a":{"b":"<&>"}}`, out)
	p.read(&l, "dlq", "show", again)
	require.Equal(t, first, l.ReplayedFrom)
	out, errs, code = p.ask("dlq", "replay", "--route", "message", "--rate", "1000/s", "--yes", "-o", "jsonl")
	require.Zero(t, code, errs)
	require.Equal(t, 2, strings.Count(out, "\n"))
	require.Contains(t, errs, "replayed 2 of 2 dead letters, 0 failed, 0 left\n")
	_, errs, code = p.ask("audit")
	require.Zero(t, code, errs)
}

// Letters leave a relay as lines and come back from them, byte for byte.
func TestTheStoryOfAnExport(t *testing.T) {
	foreman := startForeman(t)
	p := startServe(t, "--foreman-url", foreman.URL(), "--config", writeFile(t, "organizations: [A/B]\n"))
	bodies := []string{`{"a":1}`, "ü\x00\xff", "", `<html>&"\u2028`, strings.Repeat(`"`, 3<<20)}
	var ids []string
	for _, body := range bodies {
		ids = append(ids, bury(p, body))
	}
	_, other := p.post("/relay/v1/queues/A%2FB/foreman/messages", "other")
	p.awaitState(other, relay.Dead)

	all, errs, code := p.ask("dlq", "export")
	require.Zero(t, code, errs)
	require.Equal(t, len(ids)+1, strings.Count(all, "\n"))
	out, errs, code := p.ask("dlq", "export", ids[1], "-o", "jsonl")
	require.Zero(t, code, errs)
	require.Empty(t, errs)
	var x relay.ExportedLetter
	require.NoError(t, json.Unmarshal([]byte(out), &x))
	require.Equal(t, bodies[1], string(x.Body()))
	one, errs, code := p.ask("dlq", "export", "--queue", "A/B/foreman", "--where", "reason=rejected")
	require.Zero(t, code, errs)
	require.Contains(t, one, other)
	require.Equal(t, 1, strings.Count(one, "\n"))

	file := filepath.Join(t.TempDir(), "letters.jsonl")
	require.NoError(t, os.WriteFile(file, []byte(all), 0o600))
	_, errs, code = p.ask("dlq", "discard", "--reason", "rejected", "--yes")
	require.Zero(t, code, errs)
	for _, want := range []string{"6 dead letters imported, 0 were there already, 0 failed", "0 dead letters imported, 6 were there already, 0 failed"} {
		var done []relay.ImportedLetter
		out, errs, code = p.ask("dlq", "import", file, "-o", "json")
		require.Zero(t, code, errs)
		require.Equal(t, "foreman-relay: "+want+"\n", errs)
		require.NoError(t, json.Unmarshal([]byte(out), &done))
		require.Len(t, done, 6)
	}
	again, _, _ := p.ask("dlq", "export")
	require.Equal(t, all, again)
	for i, id := range ids {
		out, _, code := p.ask("dlq", "show", id, "--body")
		require.Zero(t, code)
		require.Equal(t, bodies[i], out)
	}
	out, errs, code = p.ask("dlq", "export", "nobody")
	require.Equal(t, exitNotFound, code, errs)
	require.Empty(t, out)
	var q relay.QueueStatus
	p.read(&q, "queue", "show", "default/foreman")
	require.Equal(t, []uint64{10, 5, 5}, []uint64{q.Accepted, q.Dead, q.Discarded})
	_, errs, code = p.ask("audit")
	require.Zero(t, code, errs)
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, "%sno letter\n", one), 0o600))
	_, errs, code = p.ask("dlq", "import", file)
	require.Equal(t, exitPartly, code)
	require.Contains(t, errs, "line 2: this is no exported letter: ")
}

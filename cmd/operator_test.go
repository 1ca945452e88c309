package cmd

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// bury has the relay accept a message that Foreman refuses for ever.
func bury(p *process, body string) (id string) {
	p.t.Helper()
	status, id := p.post("/relay/v1/queues/default/foreman/messages", body)
	require.Equal(p.t, http.StatusAccepted, status)
	p.awaitState(id, relay.Dead)
	return id
}

func TestQueueCommands(t *testing.T) {
	p := startServe(t, "--config", writeFile(t, "organizations: [A/B]\n"))
	var all []map[string]any
	p.read(&all, "queue", "ls")
	require.Len(t, all, 2)
	for _, key := range []string{"organization", "destination", "accepted", "pending", "delivering", "waiting", "scheduled", "delivered", "dead",
		"superseded", "cancelled", "discarded", "duplicate", "oldest_age_seconds", "bytes", "paused", "breaker"} {
		require.Contains(t, all[0], key)
	}
	out, _, code := p.ask("queue", "ls", "-q")
	require.Zero(t, code)
	require.ElementsMatch(t, []string{"default/foreman", "A/B/foreman"}, strings.Fields(out))
	out, _, _ = p.ask("queue", "ls", "--no-headers")
	require.Len(t, strings.Split(strings.TrimSpace(out), "\n"), 2)
	out, _, _ = p.ask("queue", "ls")
	require.True(t, strings.HasPrefix(out, "QUEUE "), out)

	status, _ := p.post("/api/config_reports", report("web.example.com"))
	require.Equal(t, http.StatusCreated, status)
	var q relay.QueueStatus
	p.read(&q, "queue", "show", "default/foreman")
	require.Equal(t, []uint64{1, 1, 0}, []uint64{q.Accepted, q.Pending, q.Delivered})
	out, _, code = p.ask("queue", "show", "A/B/foreman")
	require.Zero(t, code)
	require.Regexp(t, `(?m)^queue +A/B/foreman\naccepted +0\n`, out)

	out, errs, code := p.ask("queue", "show", "nobody/foreman")
	require.Equal(t, exitNotFound, code, errs)
	require.Empty(t, out)
}

func TestMessageShow(t *testing.T) {
	p := startServe(t)
	_, id := p.post("/api/config_reports", report("Web.Example.com"))
	var s relay.MessageStatus
	p.read(&s, "message", "show", id)
	require.Equal(t, "web.example.com", s.Lane)
	require.Equal(t, "report", s.Route)
	out, _, code := p.ask("message", "show", id)
	require.Zero(t, code)
	require.Regexp(t, `(?m)^id +`+id+`\nqueue +default/foreman\n`, out)
	require.Regexp(t, `(?m)^in the journal +yes$`, out)

	for _, unknown := range []string{"x", id[:len(id)-1] + "_", strings.Repeat("a", 8) + id[8:]} {
		out, errs, code := p.ask("message", "show", unknown)
		require.Equal(t, exitNotFound, code, errs)
		require.Empty(t, out)
	}
}

func TestDeadLetters(t *testing.T) {
	foreman := startForeman(t)
	p := startServe(t, "--foreman-url", foreman.URL())
	out, _, code := p.ask("dlq", "ls", "-o", "json")
	require.Zero(t, code)
	require.Equal(t, "[]\n", out)

	first, second := bury(p, `{"a": 1}`), bury(p, `{"b":2}`)
	var letters []relay.DeadLetter
	p.read(&letters, "dlq", "ls", "--queue", "default/foreman")
	require.Len(t, letters, 2)
	require.Equal(t, []string{first, second}, []string{letters[0].ID, letters[1].ID}, "oldest first")
	require.Equal(t, relay.ReasonRejected, letters[0].Reason)
	p.read(&letters, "dlq", "ls", "--limit", "1")
	require.Len(t, letters, 1)
	out, _, _ = p.ask("dlq", "ls", "-q")
	require.Equal(t, first+"\n"+second+"\n", out)

	out, _, code = p.ask("dlq", "show", first, "--body")
	require.Zero(t, code)
	require.Equal(t, `{"a": 1}`, out, "the very bytes")
	out, _, _ = p.ask("dlq", "show", first)
	require.Regexp(t, `(?m)^reason +rejected$`, out)

	out, errs, code := p.ask("dlq", "replay", first, "nobody")
	require.Equal(t, exitPartly, code)
	require.Contains(t, errs, "foreman-relay: nobody: ")
	require.True(t, strings.HasPrefix(out, "ID "), out)
	var s relay.MessageStatus
	p.read(&s, "message", "show", first)
	require.Equal(t, relay.Superseded, s.State)
	require.Contains(t, out, s.ReplacedBy)
	p.awaitState(s.ReplacedBy, relay.Dead)

	out, errs, code = p.ask("dlq", "discard", second)
	require.Equal(t, exitUsage, code, "without --yes")
	require.Empty(t, out)
	require.Contains(t, errs, "--yes")
	_, errs, code = p.ask("dlq", "discard", second, s.ReplacedBy, "--yes")
	require.Zero(t, code, errs)
	p.awaitState(second, relay.Discarded)
	out, _, _ = p.ask("dlq", "ls", "-q")
	require.Empty(t, out)

	for _, call := range [][]string{{"dlq", "show", second}, {"dlq", "replay", second}, {"dlq", "discard", second, "--yes"}, {"dlq", "discard", second, "x", "--yes"}} {
		out, errs, code := p.ask(call...)
		require.Equal(t, exitNotFound, code, "%v: %s", call, errs)
		require.Empty(t, out, call)
	}
	_, errs, code = p.ask("audit")
	require.Zero(t, code, errs)
}

func TestAudit(t *testing.T) {
	p := startServe(t, "--config", writeFile(t, "organizations: [A]\n"))
	_, _ = p.post("/api/config_reports", report("web.example.com"))
	var reports []relay.AuditReport
	p.read(&reports, "audit")
	require.Len(t, reports, 2)
	p.read(&reports, "audit", "--queue", "default/foreman")
	require.Len(t, reports, 1)
	require.True(t, reports[0].Balanced)
	require.EqualValues(t, 1, reports[0].Accepted)
	out, _, code := p.ask("audit", "--queue", "nobody/foreman")
	require.Equal(t, exitNotFound, code)
	require.Empty(t, out)
}

func TestALedgerThatDoesNotBalance(t *testing.T) {
	reports := []relay.AuditReport{{Organization: "A", Destination: "foreman", Balanced: true}, {Organization: "B", Destination: "foreman",
		Findings: []relay.AuditFinding{{Sequence: 7, ID: "x", What: "delivered and pending"}}}}
	var out startLog
	require.Equal(t, exitFailure, exitCode(printAudit(&printer{w: &out, format: asTable}, reports)))
	require.Contains(t, out.String(), "B/foreman sequence 7 x: delivered and pending\n")

	var printed startLog
	require.Equal(t, exitFailure, exitCode(printAudit(&printer{w: &printed, format: asJSON}, reports)))
	var read []relay.AuditReport
	require.NoError(t, json.Unmarshal([]byte(printed.String()), &read), "the findings are in it, and nothing else")
	require.Equal(t, reports[1].Findings, read[1].Findings)
}

func TestTimeout(t *testing.T) {
	p := startServe(t)
	_, errs, code := p.ask("queue", "ls", "--timeout", "1ns")
	require.Equal(t, exitUnavailable, code, errs)
}

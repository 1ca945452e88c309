package cmd

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
	standin "github.com/theforeman/foreman-relay/test/foreman"
)

// Stories: what operators do, one after the other, against a relay that runs.

func TestTheStoryOfAPause(t *testing.T) {
	foreman := startForeman(t)
	p := startServe(t, "--foreman-url", foreman.URL())
	out, errs, code := p.ask("queue", "pause", "default/foreman", "--reason", "an upgrade", "-o", "json")
	require.Zero(t, code, errs)
	require.Equal(t, "foreman-relay: default/foreman is paused: it accepts, and nothing is delivered from it\n", errs)
	var paused []relay.QueueStatus
	require.NoError(t, json.Unmarshal([]byte(out), &paused))
	require.True(t, paused[0].Paused)
	out, _, _ = p.ask("queue", "show", "default/foreman")
	require.Regexp(t, `(?m)^paused +yes\npaused at +\d{4}-.*\npaused because +an upgrade$`, out)
	out, _, _ = p.ask("queue", "ls")
	require.Regexp(t, `(?m)^QUEUE .* PAUSED .*\ndefault/foreman .* yes `, out)

	_, id := p.post("/api/config_reports", report("web.example.com"))
	_, second := p.post("/api/hosts/facts", `{"name":"web.example.com","facts":{"a":"b"}}`)
	out, errs, code = p.ask("message", "why", id)
	require.Zero(t, code, errs)
	require.Regexp(t, `(?m)^because +The queue default/foreman is paused since .*: an upgrade\.$`, out)
	require.Regexp(t, `(?m)^to do +Resume the queue: foreman-relay queue resume default/foreman$`, out)
	var e relay.Explanation
	p.read(&e, "message", "why", second)
	require.Equal(t, id, e.Ahead.ID)
	require.Contains(t, e.Blocked, relay.BlockedByLane)

	out, _, code = p.ask("queue", "peek", "default/foreman", "-q")
	require.Zero(t, code)
	require.Equal(t, id+"\n"+second+"\n", out, "in journal order")
	out, _, _ = p.ask("queue", "peek", "default/foreman", "--limit", "1", "--body")
	require.Contains(t, out, "\n"+report("web.example.com")+"\n")

	_, errs, code = p.ask("queue", "resume", "default/foreman")
	require.Zero(t, code, errs)
	require.Equal(t, "foreman-relay: default/foreman is not paused\n", errs)
	p.awaitState(second, relay.Delivered)
	out, _, _ = p.ask("message", "why", id)
	require.Regexp(t, `(?m)Delivered at .*, by attempt 1, answer 201\.$`, out)

	for _, verb := range []string{"pause", "resume", "peek"} {
		out, errs, code = p.ask("queue", verb, "nobody/foreman")
		require.Equal(t, exitNotFound, code, errs)
		require.Empty(t, out)
	}
}

func TestWhoPaused(t *testing.T) {
	for want, env := range map[string][]string{"alice": {"USER=root", "SUDO_USER=alice"}, "bob": {"USER=bob"}, "carol": {"LOGNAME=carol"}, "": {"HOME=/h"}} {
		require.Equal(t, want, (&program{env: env}).operator())
	}
}

func TestTheStoryOfMessages(t *testing.T) {
	foreman := startForeman(t)
	p := startServe(t, "--foreman-url", foreman.URL(), "--config", writeFile(t, "organizations: [A/B]\n"))
	dead := bury(p, `{}`)
	_, delivered := p.post("/api/config_reports", report("Web.Example.com"))
	p.awaitState(delivered, relay.Delivered)
	_, other := p.post("/relay/v1/queues/A%2FB/foreman/messages", `{"config_report":1}`)
	p.awaitState(other, relay.Dead)

	names := func(args ...string) []string {
		t.Helper()
		out, errs, code := p.ask(append([]string{"message", "ls", "-q"}, args...)...)
		require.Zero(t, code, errs)
		require.Empty(t, errs)
		return strings.Fields(out)
	}
	require.Equal(t, []string{other, delivered, dead}, names(), "the newest first")
	require.Equal(t, []string{other, delivered}, names("--limit", "2"))
	require.Equal(t, []string{delivered}, names("--host", "web.example.com"))
	require.Equal(t, []string{delivered}, names("--state", "delivered"))
	require.Equal(t, []string{delivered}, names("--route", "report"))
	require.Equal(t, []string{other}, names("--queue", "A/B/foreman", "--state", "dead"))
	require.Equal(t, []string{other, delivered, dead}, names("--since", "1h"))
	require.Empty(t, names("--since", "0s"))

	out, _, code := p.ask("message", "ls", "-o", "csv", "--state", "delivered")
	require.Zero(t, code)
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	require.NoError(t, err)
	require.Equal(t, []string{"id", "organization", "destination", "state", "route", "lane"}, rows[0][:6])
	require.Equal(t, []string{delivered, "default", "foreman", "delivered", "report", "web.example.com"}, rows[1][:6])
	out, _, _ = p.ask("message", "ls", "-o", "jsonl")
	require.Len(t, strings.Split(strings.TrimSpace(out), "\n"), 3)
	out, _, _ = p.ask("message", "show", delivered, "-o", "yaml")
	var shown map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(out), &shown))
	require.Equal(t, "delivered", shown["state"])
	out, _, _ = p.ask("message", "ls", "-o", "wide", "--color", "always")
	require.Contains(t, out, "\x1b[31mdead\x1b[0m")
	require.Regexp(t, ` REASON +NOT BEFORE +EXPIRES +PRIORITY +SEALED TO\n`, out)
}

func TestTheStoryOfDeadLetters(t *testing.T) {
	foreman := startForeman(t)
	p := startServe(t, "--foreman-url", foreman.URL(), "--config", writeFile(t, "organizations: [A]\n"))
	first, second := bury(p, `{"a":1}`), bury(p, `{"b":2}`)
	_, third := p.post("/relay/v1/queues/A/foreman/messages", `{"c":3}`)
	p.awaitState(third, relay.Dead)
	names := func(args ...string) []string {
		t.Helper()
		out, errs, code := p.ask(append([]string{"dlq", "ls", "-q"}, args...)...)
		require.Zero(t, code, errs)
		return strings.Fields(out)
	}
	require.Equal(t, []string{first, second, third}, names("--reason", "rejected"))
	require.Empty(t, names("--reason", "max_age"))
	require.Equal(t, []string{third}, names("--where", "organization!=default,status=404"))
	require.Equal(t, []string{third}, names("--where", "status~40", "--where", "organization=A"))
	require.Empty(t, names("--host", "web", "--status", "404", "--route", "message"))
	require.Equal(t, []string{first}, names("--limit", "1", "--since", "1h"))

	// A dry run changes nothing, and without --yes nothing is done either.
	for _, verb := range []string{"replay", "discard"} {
		out, errs, code := p.ask("dlq", verb, "--queue", "default/foreman", "--dry-run", "-q")
		require.Zero(t, code, errs)
		require.Equal(t, first+"\n"+second+"\n", out)
		require.Contains(t, errs, "would be about 2 dead letters; nothing is changed. Here are 2:")
		out, errs, code = p.ask("dlq", verb, "--queue", "default/foreman")
		require.Equal(t, exitUsage, code)
		require.Empty(t, out)
		require.Contains(t, errs, "ing 2 dead letters: add --yes, or see them first with --dry-run")
		out, errs, code = p.ask("dlq", verb, "--reason", "none", "--yes")
		require.Zero(t, code)
		require.Empty(t, out)
		require.Contains(t, errs, "no dead letter is as the filter says")
	}
	out, _, code := p.ask("dlq", "discard", first, "--dry-run", "-q")
	require.Zero(t, code)
	require.Equal(t, first+"\n", out)
	require.Len(t, names(), 3)

	out, errs, code := p.ask("dlq", "replay", "--queue", "default/foreman", "--limit", "1", "--yes", "-q")
	require.Zero(t, code, errs)
	require.Contains(t, errs, "--limit 1 is reached: there may be more")
	p.awaitState(strings.TrimSpace(out), relay.Dead)
	p.awaitState(first, relay.Superseded)
	_, errs, code = p.ask("dlq", "discard", "--where", "organization=A", "--yes")
	require.Zero(t, code, errs)
	p.awaitState(third, relay.Discarded)
	require.Equal(t, []string{second, strings.TrimSpace(out)}, names())
	out, errs, code = p.ask("dlq", "discard", second, third, "--yes")
	require.Equal(t, exitPartly, code, errs)
	require.Empty(t, out)
	_, errs, code = p.ask("audit")
	require.Zero(t, code, errs)
}

// A watch prints until it is interrupted; as lines, only what has changed.
func TestTheStoryOfAWatch(t *testing.T) {
	p := startServe(t)
	lines := p.watch("queue", "watch", "default/foreman", "-o", "jsonl", "--interval", "100ms")
	var s relay.QueueStatus
	require.NoError(t, json.Unmarshal(<-lines, &s))
	require.Zero(t, s.Accepted)
	status, _ := p.post("/api/config_reports", report("web.example.com"))
	require.Equal(t, http.StatusCreated, status)
	for s.Accepted == 0 {
		require.NoError(t, json.Unmarshal(<-lines, &s))
	}
	require.EqualValues(t, 1, s.Pending)

	table := p.watch("queue", "ls", "-w", "--interval", "100ms")
	require.True(t, strings.HasPrefix(string(<-table), "QUEUE "))
	for range 3 {
		require.True(t, strings.HasPrefix(string(<-table), "default/foreman "), "one header, and then rows")
	}
}

func TestOnlyChangesAreLines(t *testing.T) {
	var out bytes.Buffer
	w := watcher{out: &printer{w: &out, format: asLines}, last: map[string]relay.QueueStatus{}}
	now := time.Now()
	row := relay.QueueStatus{Organization: "A", Destination: "foreman", OldestAgeSeconds: 1}
	look := func(change func(*relay.QueueStatus)) int {
		t.Helper()
		change(&row)
		out.Reset()
		require.NoError(t, w.print([]relay.QueueStatus{row}))
		return strings.Count(out.String(), "\n")
	}
	require.Equal(t, 1, look(func(*relay.QueueStatus) {}), "the first look")
	require.Equal(t, 0, look(func(s *relay.QueueStatus) { s.OldestAgeSeconds = 2 }), "grown older")
	require.Equal(t, 1, look(func(s *relay.QueueStatus) { s.Accepted = 1 }))
	require.Equal(t, 1, look(func(s *relay.QueueStatus) { s.Paused, s.Pause = true, &relay.Pause{At: now} }))
	require.Equal(t, 0, look(func(s *relay.QueueStatus) { s.Pause = &relay.Pause{At: now} }), "the same pause")
	require.Equal(t, 1, look(func(s *relay.QueueStatus) { s.Pause = &relay.Pause{At: now, Reason: "x"} }))
	require.Equal(t, 1, look(func(s *relay.QueueStatus) { s.Breaker, s.BreakerSince = "open", &now }))
	require.Equal(t, 0, look(func(s *relay.QueueStatus) { later := now.Add(time.Millisecond); s.BreakerSince = &later }))
}

// watch runs a command that ends with the test, which it must do well.
func (p *process) watch(args ...string) <-chan []byte {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out := &lineWriter{ctx: ctx, lines: make(chan []byte)}
	code := make(chan int, 1)
	go func() {
		code <- Main(ctx, append(args, "--admin-socket", p.socket()), out, out, nil)
	}()
	p.t.Cleanup(func() {
		cancel()
		require.Zero(p.t, <-code)
	})
	return out.lines
}

// lineWriter hands out whole lines.
type lineWriter struct {
	ctx   context.Context
	lines chan []byte
	rest  []byte
}

func (w *lineWriter) Write(b []byte) (int, error) {
	w.rest = append(w.rest, b...)
	for {
		line, rest, whole := bytes.Cut(w.rest, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		w.rest = rest
		select {
		case w.lines <- bytes.Clone(line):
		case <-w.ctx.Done():
		}
	}
}

// Why nothing is delivered travels from the drain to the operator.
func TestTheStoryOfAClosedDoor(t *testing.T) {
	foreman := startForeman(t)
	foreman.SetRules(standin.Rule{Mode: standin.HTML503})
	p := startServe(t, "--foreman-url", foreman.URL(), "--config", writeFile(t, "foreman: {probe_interval: 50ms}\n"))
	_, id := p.post("/api/config_reports", report("web.example.com"))
	p.awaitQueue(func(s relay.QueueStatus) bool { return s.BreakerReason == "the ping is answered with 503" })
	out, _, _ := p.ask("queue", "show", "default/foreman")
	require.Regexp(t, `(?m)^breaker +open\nnot closed since +\d{4}-.*\nnot closed because +the ping is answered with 503$`, out)
	out, _, _ = p.ask("queue", "ls", "-o", "wide")
	require.Regexp(t, `(?m) the ping is answered with 503$`, out)
	out, _, _ = p.ask("message", "why", id)
	require.Regexp(t, `(?m)^because +The circuit to the destination is open, not closed since .*, because: the ping is answered with 503\.$`, out)
	foreman.SetRules()
	p.awaitState(id, relay.Delivered)
	p.awaitQueue(func(s relay.QueueStatus) bool {
		return s.Breaker == "closed" && s.BreakerSince == nil && s.BreakerReason == ""
	})

	foreman.SetRules(standin.Rule{Mode: standin.Forbidden})
	_, id = p.post("/api/config_reports", report("other.example.com"))
	p.awaitState(id, relay.Waiting)
	p.awaitQueue(func(s relay.QueueStatus) bool { return s.Breaker == "open" })
	out, _, _ = p.ask("message", "why", id)
	require.Regexp(t, `(?m)^because +The circuit .* because: unauthorized: `, out)
	require.Regexp(t, `(?m)^to do +Let the relay in at the destination; in Foreman: `, out)
}

// What is pending can be waited for, taken back, and purged.
func TestTheStoryOfAWithdrawal(t *testing.T) {
	foreman := startForeman(t)
	p := startServe(t, "--foreman-url", foreman.URL())
	_, _, code := p.ask("queue", "pause", "default/foreman")
	require.Zero(t, code)
	var ids []string
	for _, host := range []string{"a.example.com", "b.example.com", "c.example.com", "d.example.com"} {
		_, id := p.post("/api/config_reports", report(host))
		ids = append(ids, id)
	}
	_, errs, code := p.ask("message", "wait", ids[3], "--for", "200ms")
	require.Equal(t, exitUnavailable, code)
	require.Regexp(t, `is queued still after 200ms; see .message why.`, errs)

	_, errs, code = p.ask("message", "cancel", ids[0])
	require.Zero(t, code, errs)
	require.Equal(t, "foreman-relay: "+ids[0]+" is cancelled\n", errs)
	_, errs, code = p.ask("message", "cancel", ids[0], ids[1])
	require.Equal(t, exitPartly, code)
	require.Contains(t, errs, "is cancelled; it cannot be cancelled")
	out, _, code := p.ask("message", "wait", ids[0])
	require.Equal(t, exitNotSent, code)
	require.Regexp(t, `(?m)^state +cancelled$`, out)
	out, _, _ = p.ask("message", "ls", "--state", "cancelled", "-q")
	require.Equal(t, ids[1]+"\n"+ids[0]+"\n", out)

	_, errs, code = p.ask("queue", "purge", "default/foreman", "--host", "C.example.com", "--dry-run")
	require.Zero(t, code)
	require.Equal(t, "foreman-relay: 1 messages of default/foreman would be discarded; nothing is changed\n", errs)
	_, errs, code = p.ask("queue", "purge", "default/foreman", "--host", "c.example.com", "--yes")
	require.Zero(t, code)
	require.Equal(t, "foreman-relay: 1 messages of default/foreman are discarded\n", errs)

	_, _, code = p.ask("queue", "resume", "default/foreman")
	require.Zero(t, code)
	out, errs, code = p.ask("message", "wait", ids[3])
	require.Zero(t, code, errs)
	require.Regexp(t, `(?m)^state +delivered$`, out)
	p.awaitQueue(func(s relay.QueueStatus) bool {
		return s.Delivered == 1 && s.Cancelled == 2 && s.Discarded == 1 && s.Pending == 0
	})
	_, errs, code = p.ask("audit")
	require.Zero(t, code, errs)
}

func (p *process) awaitQueue(cond func(relay.QueueStatus) bool) {
	p.t.Helper()
	var s relay.QueueStatus
	require.Eventually(p.t, func() bool {
		s = relay.QueueStatus{}
		p.read(&s, "queue", "show", "default/foreman")
		return cond(s)
	}, 20*time.Second, 20*time.Millisecond, "last seen: %+v", &s)
}

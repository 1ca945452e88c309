package cmd

import (
	"path/filepath"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

// A store in which an event is about another message than it says: the command
// names it and fails, also from a time on; a time that cannot be read is a wrong
// call.
func TestAuditOfAStoreThatIsWrong(t *testing.T) {
	dir := filepath.Join(shortDir(t), "state")
	args := []string{"serve", "--state-dir", dir, "--listen", "127.0.0.1:0", "--durability", "os"}
	p := startProcess(t, args...)
	_, first := p.post("/api/config_reports", report("one.example.com"))
	_, second := p.post("/api/config_reports", report("two.example.com"))
	out, errs, code := p.ask("audit", "--since", "1h")
	require.Zero(t, code, errs)
	require.NotContains(t, out, "sequence")
	_, _, code = p.ask("audit", "--since", "yesterday")
	require.Equal(t, exitUsage, code)
	require.Zero(t, p.stop())

	record(t, dir, relay.Event{Sequence: 1, ID: second, State: relay.Delivered})
	p = startProcess(t, args...)
	for _, call := range [][]string{{"audit"}, {"audit", "--since", "1h"}, {"audit", "-o", "json"}} {
		out, errs, code := p.ask(call...)
		require.Equal(t, exitFailure, code, errs)
		require.Contains(t, out, first)
		require.Contains(t, out, "but of another message, "+second)
	}
}

// record writes an event into the record of a relay that does not run.
func record(t *testing.T, dir string, e relay.Event) {
	t.Helper()
	q := relay.Queue{Organization: relay.DefaultOrganization, Destination: relay.ForemanDestination}
	b, err := broker.Open(t.Context(), broker.Options{StateDir: dir, Durability: broker.ModeOS, Queues: []relay.Queue{q}, Log: zerolog.Nop()})
	require.NoError(t, err)
	defer b.Close()
	c, err := b.Connect(q.Destination)
	require.NoError(t, err)
	defer c.Close()
	j, err := c.Journal(q)
	require.NoError(t, err)
	require.NoError(t, j.Record(t.Context(), e))
}

// Two audits of the same queues can be compared: they are listed as `queue ls`
// has them.
func TestAnAuditListsTheQueuesInOrder(t *testing.T) {
	p := startServe(t, "--config", writeFile(t, "organizations: [F, B, D, A, E, C]\n"))
	queues, _, _ := p.ask("queue", "ls", "-q")
	audited, errs, code := p.ask("audit", "-q")
	require.Zero(t, code, errs)
	require.Equal(t, "A/foreman\nB/foreman\nC/foreman\nD/foreman\nE/foreman\nF/foreman\ndefault/foreman\n", audited)
	require.Equal(t, queues, audited)
}

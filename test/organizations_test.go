package test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/test/harness"
)

// An organization that is made while edge and drain run has its messages stored
// and delivered at once. What waits in its queue outlives a kill of each process,
// and so does the organization.
func TestAnOrganizationMadeAtRunTimeOutlivesKills(t *testing.T) {
	t.Parallel() // most of its time it waits
	inBothForms(t, func(t *testing.T, start func(...string) *form) {
		f := start("--attempt-timeout", "5s")
		harness.AwaitQueue(t, f.socket, 20*time.Second, func(s relay.QueueStatus) bool { return s.Drain != "" })
		const organization, queue, host = "ACME/R & D", "ACME/R & D/foreman", "host.example.com"
		f.operate("org", "enable", organization, "--create")
		f.enqueueReport(queue, host, "2026-01-01 00:00:01 UTC")
		f.awaitReports(host, "2026-01-01 00:00:01 UTC")

		f.operate("queue", "pause", queue)
		f.enqueueReport(queue, host, "2026-01-01 00:00:02 UTC")
		for _, p := range append([]*harness.Process{f.edge}, f.drains...) {
			p.Kill()
			p.Again()
		}
		f.awaitReady()
		f.enqueueReport(queue, host, "2026-01-01 00:00:03 UTC")
		f.operate("queue", "resume", queue)
		f.awaitReports(host, "2026-01-01 00:00:01 UTC", "2026-01-01 00:00:02 UTC", "2026-01-01 00:00:03 UTC")
		accepted := map[string]uint64{}
		for _, q := range harness.Queues(t, f.socket) {
			accepted[q.Organization] = q.Accepted
		}
		require.Equal(t, map[string]uint64{organization: 3, relay.DefaultOrganization: 0}, accepted)
		harness.Audit(t, f.socket)
	})
}

// operate runs an operator's command that has to succeed.
func (f *form) operate(args ...string) string {
	f.t.Helper()
	out, errs, code := harness.Command(f.t, append(args, "--admin-socket", f.socket)...)
	require.Zero(f.t, code, errs)
	return out
}

func (f *form) enqueueReport(queue, host, at string) {
	f.t.Helper()
	file := filepath.Join(f.t.TempDir(), "report.json")
	require.NoError(f.t, os.WriteFile(file, harness.Report(host, at), 0o600))
	f.operate("enqueue", queue, file, "--route", "report")
}

func (f *form) awaitReports(host string, want ...string) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 40*time.Second)
	defer cancel()
	f.foreman.Await(ctx, func() bool { return len(f.foreman.Reports()[host]) >= len(want) })
	require.Equal(f.t, want, f.foreman.Reports()[host])
}

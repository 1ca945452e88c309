package test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
	standin "github.com/theforeman/foreman-relay/test/foreman"
	"github.com/theforeman/foreman-relay/test/harness"
)

// A backlog larger than the index, behind it an urgent report, one that expires
// and one that is scheduled; then every process is killed. The urgent one comes
// among the first, the expired one never, the scheduled one not before it is due,
// and all is told right.
func TestTimesAndPriorityOverASIGKILL(t *testing.T) {
	t.Parallel() // most of its time it waits
	inBothForms(t, func(t *testing.T, start func(...string) *form) {
		config := filepath.Join(t.TempDir(), "relay.yaml")
		require.NoError(t, os.WriteFile(config, []byte("limits: {index_entries: 16, index_lane: 8}\nforeman: {concurrency: 2}\n"), 0o600))
		f := start("--config", config)
		f.foreman.SetRules(standin.Rule{Mode: standin.Slow, Latency: 25 * time.Millisecond}) // the backlog outlasts two renewals
		f.queue("pause")
		f.fill(25, 8)
		due := time.Now().Add(8 * time.Second)
		scheduled := f.postTimed("scheduled.example.com", "Relay-Not-Before", due.UTC().Format(time.RFC3339Nano))
		expired := f.postTimed("expired.example.com", "Relay-Expires", "500ms")
		f.postTimed("urgent.example.com", "Relay-Priority", "urgent")
		gone := time.Now().Add(500 * time.Millisecond)

		for _, p := range append(f.drains, f.edge) {
			p.Kill()
			p.Again()
		}
		f.awaitReady()
		s := harness.AwaitQueue(t, f.socket, 20*time.Second, func(s relay.QueueStatus) bool { return s.Drain != "" && time.Now().After(gone) })
		require.Equal(t, time.Now().Before(due), s.Scheduled == 1, "scheduled: %d", s.Scheduled)
		require.Empty(t, f.foreman.Requests())
		f.queue("resume")

		hosts := func() (hosts []string) {
			for _, r := range f.foreman.Requests() {
				hosts = append(hosts, r.Host)
			}
			return hosts
		}
		harness.AwaitQueue(t, f.socket, 60*time.Second, harness.Drained)
		f.awaitState(scheduled, relay.Delivered)
		f.awaitState(expired, relay.Dead)
		require.Less(t, slices.Index(hosts(), "urgent.example.com"), 100, "of 202")
		require.NotContains(t, hosts(), "expired.example.com")
		i := slices.IndexFunc(f.foreman.Requests(), func(r standin.Request) bool { return r.Host == "scheduled.example.com" })
		require.False(t, f.foreman.Requests()[i].At.Before(due))
		harness.Audit(t, f.socket)
	})
}

// queue pauses or resumes.
func (f *form) queue(verb string) {
	f.t.Helper()
	_, errs, code := harness.Command(f.t, "queue", verb, "default/foreman", "--admin-socket", f.socket)
	require.Zero(f.t, code, errs)
}

// postTimed posts a report with a header and returns where it can be looked at.
func (f *form) postTimed(host, header, value string) string {
	f.t.Helper()
	resp, answer := post(f.t, f.url+"/api/config_reports", map[string]string{header: value}, harness.Report(host, "2026-11-24 12:00:00 UTC"))
	require.Equal(f.t, http.StatusCreated, resp.StatusCode, string(answer))
	return resp.Header.Get("Location")
}

package clients

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
	standin "github.com/theforeman/foreman-relay/test/foreman"
	"github.com/theforeman/foreman-relay/test/harness"
)

// Foreman is up, then away, then takes connections and answers nothing, then is
// back. The client never knows: it is satisfied each time, without waiting for
// Foreman. Every report arrives, once, in the order of the runs; of the facts that
// waited the newest does.
func TestNoReportIsLost(t *testing.T) {
	for name, c := range clients {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			need(t, c.needs)
			s := startSite(t, c.tls)
			box := newSandbox(t, s.pki)
			c.prepare(box)
			var marks []string
			run := func(mark string) {
				marks = append(marks, mark)
				printed, code := c.run(box, s.url, mark)
				require.Zero(t, code, printed)
				require.False(t, in(printed, c.lost.away) || in(printed, c.lost.refused), printed)
			}

			run("run-up")
			s.awaitCounted(len(c.delivers))
			s.foreman.Stop()
			run("run-away")
			s.foreman.SetRules(standin.Rule{Mode: standin.Hang})
			require.NoError(t, s.foreman.Start(""))
			run("run-hanging")
			waiting := uint64(2 * len(c.delivers))
			s.await(func(q relay.QueueStatus) bool { return q.Pending+q.Superseded == waiting })
			s.foreman.Stop()
			s.foreman.SetRules()
			require.NoError(t, s.foreman.Start(""))
			run("run-back")

			total := len(marks) * len(c.delivers)
			q := s.await(func(q relay.QueueStatus) bool { return q.Pending == 0 })
			require.EqualValues(t, total, q.Accepted)
			require.EqualValues(t, total, q.Delivered+q.Superseded)
			harness.Audit(t, s.socket)
			requireInOrder(t, c, marks, s.answered(), int(q.Superseded))
		})
	}
}

// requireInOrder holds what Foreman has answered against the runs: each once, but
// for so many that those of later runs have replaced.
func requireInOrder(t *testing.T, c client, marks []string, got []standin.Request, replaced int) {
	t.Helper()
	require.Len(t, got, len(marks)*len(c.delivers)-replaced, "each once")
	next := 0
	for i, r := range got {
		want, mark := c.delivers[next%len(c.delivers)], marks[next/len(c.delivers)]
		for want.latest && mark != marks[len(marks)-1] && (r.Path != want.path || !strings.Contains(string(r.Body), mark)) {
			next++
			want, mark = c.delivers[next%len(c.delivers)], marks[next/len(c.delivers)]
		}
		next++
		require.Equal(t, want.path, r.Path, "request %d", i)
		require.Contains(t, string(r.Body), mark, "request %d", i)
		require.Equal(t, "application/json", r.Header.Get("Content-Type"))
		require.Equal(t, 201, r.Status)
		want.check(t, r)
	}
	require.Equal(t, len(marks)*len(c.delivers), next, "the last of each")
}

// The control: straight at a Foreman that is away, or that its web server
// excuses, the same client says that its report is lost, and it is. So the
// words that the test above looks for are the right ones.
func TestWithoutTheRelayReportsAreLost(t *testing.T) {
	for name, c := range clients {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			need(t, c.needs)
			foreman := startForeman(t)
			box := newSandbox(t, "")
			c.prepare(box)
			loses := func(words string) {
				printed, code := c.run(box, foreman.URL(), "run-lost")
				require.Zero(t, code, "the report is lost and the program content: %s", printed)
				require.True(t, in(printed, words), printed)
			}
			foreman.SetRules(standin.Rule{Mode: standin.HTML503})
			loses(c.lost.refused)
			foreman.Stop()
			loses(c.lost.away)
			foreman.SetRules()
			require.NoError(t, foreman.Start(""))
			require.Empty(t, foreman.Counted())
		})
	}
}

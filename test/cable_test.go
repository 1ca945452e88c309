package test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/test/harness"
)

// Edge and drain in two directories, with a cable between them that is cut, and goes
// silent, again and again in the middle of 5 000 messages. Nothing is lost, and a
// destination that heeds Idempotency-Key takes nothing twice.
func TestACableThatIsCut(t *testing.T) {
	t.Parallel() // most of its time it waits
	const hosts, each = 100, 50
	f := newForm(t, filepath.Join(t.TempDir(), "state"))
	f.startFarEdge()
	f.fill(hosts, each)
	link := harness.NewLink(t, f.broker)
	f.broker = link.Address()
	drain := f.startDrain()
	lost := func() int { return strings.Count(drain.Log(), "the connection to the broker was lost") }
	for i, breakIt := range []func(){link.Cut, link.Freeze, link.Cut, func() { link.Freeze(); link.Cut() }, link.Cut} {
		f.awaitRequests(400+800*i, 30*time.Second)
		require.Less(t, len(f.foreman.Requests()), hosts*each, "in the middle of it")
		before := lost()
		breakIt()
		require.Eventually(t, func() bool { return lost() > before }, 30*time.Second, 5*time.Millisecond, "the drain finds out by itself")
		link.Mend()
	}
	harness.AwaitQueue(t, f.socket, time.Minute, harness.Drained)

	first := map[string]bool{}
	for _, r := range f.foreman.Requests() {
		key := r.Header.Get("Idempotency-Key")
		require.NotEmpty(t, key)
		require.NotEqual(t, first[key], r.Counted, "the first of a key counts, and no other")
		first[key] = true
	}
	require.Len(t, first, hosts*each, "nothing is lost")
	t.Logf("%d requests for %d messages", len(f.foreman.Requests()), hosts*each)
	for host, got := range f.foreman.Reports() {
		require.Len(t, got, each, host)
		require.IsIncreasing(t, got, "order of %s", host)
	}
	harness.Audit(t, f.socket)
}

package broker_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// A power cut takes what was recorded since the last barrier: the state is copied
// at one, deliveries go on, and the next start is from the copy. What was
// delivered meanwhile is delivered once more and no oftener, and audit names it;
// what cannot have been delivered is not named, and nothing that was answered is
// missing.
func TestWhatAPowerCutTakesOfTheRecordIsDeliveredOnceMoreAndNamed(t *testing.T) {
	t.Parallel()
	const answered, recorded, lost = 1100, 20, 40
	dir := stateDir(t)
	b := open(t, dir, nil)
	ids := acceptMany(t, b, answered)
	on, end := make(chan struct{}), make(chan struct{})
	before := newDestination(func(n int, m *relay.Message) relay.Result {
		switch {
		case n > lost:
			<-end
		case n > recorded:
			<-on
		}
		return delivered(n, m)
	})
	stop := drain(t, b, before, nil)
	status(t, b, func(s relay.QueueStatus) bool { return s.Delivered == recorded && s.Delivering > 0 })
	cut := copyState(t, dir)
	close(on)
	status(t, b, func(s relay.QueueStatus) bool { return s.Delivered >= lost })
	close(end)
	stop()
	again := before.bodies()[recorded:]
	require.GreaterOrEqual(t, len(again), lost-recorded)
	b.Close()

	b = open(t, cut, nil)
	r := balanced(t, b)
	require.EqualValues(t, answered-recorded, r.Pending)
	require.Subset(t, named(r), idsOf(ids, again), "at once, before anything is delivered again")
	after := newDestination(delivered)
	stop = drain(t, b, after, nil)
	s := status(t, b, settled)
	require.EqualValues(t, answered, s.Delivered)
	require.ElementsMatch(t, append(before.bodies()[:recorded], after.bodies()...), bodies(answered), "each once by the record")
	r = balanced(t, b)
	require.Subset(t, named(r), idsOf(ids, again))
	require.EqualValues(t, len(named(r)), r.InDoubt)
	require.Less(t, r.InDoubt, uint64(answered-recorded), "what is beyond the reach of attempts is not named")
	stop()
	b.Close()

	b = open(t, cut, nil) // it was not forgotten, and an end in order adds nothing
	require.Equal(t, r.InDoubt, balanced(t, b).InDoubt)
}

// A run that ends in order leaves no doubt, however much is pending.
func TestAnEndInOrderLeavesNoDoubt(t *testing.T) {
	dir := stateDir(t)
	b := open(t, dir, nil)
	d := newDestination(func(n int, m *relay.Message) relay.Result {
		if n > 2 {
			return relay.Result{Class: relay.ClassNotReady}
		}
		return delivered(n, m)
	})
	stop := drain(t, b, d, nil)
	acceptMany(t, b, 10)
	status(t, b, func(s relay.QueueStatus) bool { return s.Delivered == 2 && len(d.bodies()) > 2 })
	stop()
	b.Close()
	b = open(t, dir, nil)
	r := balanced(t, b)
	require.EqualValues(t, 8, r.Pending)
	require.Zero(t, r.InDoubt)
	require.Empty(t, r.Notes)
}

// A message that was known to wait for a later time when the run was cut off
// cannot have been delivered.
func TestAMessageThatWaitedIsNotInDoubt(t *testing.T) {
	dir := stateDir(t)
	b := open(t, dir, nil)
	begun, end := make(chan struct{}, 1), make(chan struct{})
	drain(t, b, newDestination(func(_ int, m *relay.Message) relay.Result {
		if string(m.Body) == "waits" {
			return relay.Result{Class: relay.ClassNotReady, RetryAfter: time.Hour}
		}
		begun <- struct{}{}
		<-end
		return delivered(0, m)
	}), nil)
	accept(t, b, message("a", "", "waits"))
	status(t, b, func(s relay.QueueStatus) bool { return s.Waiting == 1 })
	under := accept(t, b, message("b", "", "under way"))
	<-begun
	cut := copyState(t, dir)
	close(end)
	b = open(t, cut, nil)
	r := balanced(t, b)
	require.Equal(t, []string{under.ID}, named(r))
}

func acceptMany(t *testing.T, b relay.Intake, n int) map[string]string {
	t.Helper()
	ids := map[string]string{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for c := range 16 {
		wg.Go(func() {
			for i := c; i < n; i += 16 {
				r, err := b.Accept(t.Context(), message(fmt.Sprint("host", i%100), "", fmt.Sprint(i)))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				ids[fmt.Sprint(i)] = r.ID
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Len(t, ids, n)
	return ids
}

func bodies(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint(i)
	}
	return all
}

func named(r relay.AuditReport) []string {
	ids := []string{}
	for _, n := range r.Notes {
		ids = append(ids, n.ID)
	}
	return ids
}

func idsOf(ids map[string]string, bodies []string) []string {
	of := make([]string, 0, len(bodies))
	for _, body := range bodies {
		of = append(of, ids[body])
	}
	return of
}

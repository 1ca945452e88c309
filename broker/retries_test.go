package broker_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// Attempts that had to wait for somebody else use up none of those that may fail,
// and what has failed before a restart has failed after it.
func TestOnlyFailuresCountOverARestart(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	b := open(t, dir, nil)
	twice := func(first time.Duration) func(o *relay.DrainOptions) {
		return func(o *relay.DrainOptions) {
			p := o.Policy("")
			p.MaxAttempts, p.FirstDelay = 2, first
			o.Policy = func(string) relay.Policy { return p }
		}
	}
	d := newDestination(func(n int, _ *relay.Message) relay.Result {
		if n < 5 {
			return relay.Result{Class: relay.ClassNotReady, Status: 422}
		}
		return relay.Result{Class: relay.ClassTransient, Status: 500}
	})
	stop := drain(t, b, d, twice(2*time.Second))
	r := accept(t, b, message("host", "", "x"))
	require.Eventually(t, func() bool { return len(d.bodies()) >= 5 }, 20*time.Second, time.Millisecond)
	stop()
	b.Close()

	b = open(t, dir, nil)
	stop = drain(t, b, d, twice(20*time.Millisecond))
	require.EqualValues(t, 1, status(t, b, settled).Dead)
	m, err := b.Message(t.Context(), r.ID)
	require.NoError(t, err)
	require.Equal(t, []any{relay.ReasonMaxAttempts, 6}, []any{m.Reason, m.Attempts})
	stop()
	require.Len(t, d.bodies(), 6)
}

// What the budget holds back can be seen, in the queue and of the message.
func TestRetriesThatAreHeldAreSeen(t *testing.T) {
	t.Parallel()
	b := open(t, stateDir(t), nil)
	var mended atomic.Bool
	d := newDestination(func(n int, m *relay.Message) relay.Result {
		if mended.Load() {
			return delivered(n, m)
		}
		return relay.Result{Class: relay.ClassTransient, Status: 500, Reason: relay.ReasonServerError}
	})
	drain(t, b, d, func(o *relay.DrainOptions) {
		gate := relay.DefaultGateOptions()
		gate.Failures = 1000
		o.Gate = relay.NewGate(gate, d.Probe)
		o.Budget = relay.NewBudget(relay.BudgetOptions{Percent: 0, Floor: 1})
	})
	ids := []string{}
	for i := range 30 {
		ids = append(ids, accept(t, b, message(fmt.Sprint("host", i), "", "x")).ID)
	}
	s := status(t, b, func(s relay.QueueStatus) bool { return s.RetriesHeld > 0 && s.Waiting == 30 })
	require.LessOrEqual(t, s.RetriesHeld, uint64(30))
	held := 0
	for _, id := range ids {
		why, err := b.Why(t.Context(), id)
		require.NoError(t, err)
		if slices.Contains(why.Blocked, relay.BlockedByBudget) {
			held++
		}
	}
	require.GreaterOrEqual(t, held, 10)
	require.Less(t, len(d.bodies()), 30+60, "a retry a second, and ten at once")
	mended.Store(true)
	require.EqualValues(t, 30, status(t, b, settled).Delivered)
}

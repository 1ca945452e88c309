package broker_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// What the explanation is written from: the lane, the drain, the circuit, the
// pause. The sentences are package relay's.
func TestWhy(t *testing.T) {
	b := open(t, stateDir(t), anyDisk)
	first, second := accept(t, b, message("host", "", "1")), accept(t, b, message("host", "", "2"))
	accept(t, b, message("other", "", "3"))
	third := accept(t, b, message("host", "", "4"))
	e, err := b.Why(t.Context(), third.ID)
	require.NoError(t, err)
	require.Equal(t, []string{relay.BlockedByNoDrain, relay.BlockedByLane}, e.Blocked)
	require.Equal(t, first.ID, e.Ahead.ID)
	require.Equal(t, 2, e.AheadCount)

	d := newDestination(func(int, *relay.Message) relay.Result {
		return relay.Result{Class: relay.ClassUnavailable, Confirmed: relay.ClassTransient, Reason: relay.ReasonUnavailable}
	})
	d.probe = func() error { return errors.New("nobody there") }
	stop := drain(t, b, d, nil)
	s := status(t, b, func(s relay.QueueStatus) bool { return s.Breaker == "open" && s.BreakerReason == "nobody there" })
	require.WithinDuration(t, time.Now(), *s.BreakerSince, time.Minute)
	require.NoError(t, b.Pause(t.Context(), queue, "me", ""))
	e, err = b.Why(t.Context(), first.ID)
	require.NoError(t, err)
	require.Equal(t, []string{relay.BlockedByPause, relay.BlockedByCircuit}, e.Blocked)
	require.Contains(t, e.Because[1], "because: nobody there.")
	require.NoError(t, b.Resume(t.Context(), queue))
	stop()

	drain(t, b, newDestination(func(int, *relay.Message) relay.Result {
		return relay.Result{Class: relay.ClassNotReady, Reason: relay.ReasonNotReady}
	}), func(o *relay.DrainOptions) { o.Policy = func(string) relay.Policy { return relay.DefaultPolicy() } })
	status(t, b, func(s relay.QueueStatus) bool { return s.Waiting == 2 && s.Breaker == "closed" })
	e, err = b.Why(t.Context(), first.ID)
	require.NoError(t, err)
	require.Equal(t, []string{relay.BlockedByWait}, e.Blocked)
	require.Nil(t, e.Ahead)
	e, err = b.Why(t.Context(), second.ID)
	require.NoError(t, err)
	require.Equal(t, []string{relay.BlockedByLane}, e.Blocked)
	require.Equal(t, []any{relay.Waiting, relay.ReasonNotReady, 1}, []any{e.Ahead.State, e.Ahead.Reason, e.Ahead.Attempts})
	require.NotNil(t, e.Ahead.NextAttempt)

	_, err = b.Why(t.Context(), "x")
	require.Equal(t, relay.CodeNotFound, relay.CodeOf(err))
}

package broker_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

func withPoison(poison relay.Poison) func(*relay.DrainOptions) {
	return func(o *relay.DrainOptions) {
		general := o.Policy
		o.Policy = func(route string) relay.Policy {
			p := general(route)
			p.OnPoison = poison
			return p
		}
	}
}

// A queue is paused for a message that the destination will not have: the message
// stays at the head of its lane, whoever asks is told which it is, and it is
// tried again, and first, when the queue is resumed; after a restart too.
func TestAQueueIsPausedForAPoisonousMessage(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	b := open(t, dir, nil)
	bad := atomic.Bool{}
	bad.Store(true)
	d := newDestination(func(n int, m *relay.Message) relay.Result {
		if bad.Load() {
			return rejected(n, m)
		}
		return delivered(n, m)
	})
	stop := drain(t, b, d, withPoison(relay.PoisonPause))
	first := accept(t, b, message("host", "", "1"))
	accept(t, b, message("host", "", "2"))
	s := status(t, b, func(s relay.QueueStatus) bool { return s.Paused })
	require.Equal(t, []uint64{2, 1, 0, 0}, []uint64{s.Pending, s.Waiting, s.Dead, s.Discarded})
	require.Equal(t, relay.ByPolicy, s.Pause.By)
	require.Contains(t, s.Pause.Reason, first.ID)
	require.Contains(t, s.Pause.Reason, "rejected, answer 422: no: 100 % wrong")
	why, err := b.Why(t.Context(), first.ID)
	require.NoError(t, err)
	require.Contains(t, why.Blocked, relay.BlockedByPause)
	require.Contains(t, why.Because[0], first.ID)
	balanced(t, b)

	require.NoError(t, b.Resume(t.Context(), queue)) // too early: nothing was mended
	status(t, b, func(s relay.QueueStatus) bool { return s.Paused && s.Pause.At.After(why.Queue.Pause.At) })
	require.Equal(t, []string{"1", "1"}, d.bodies(), "the second does not overtake")
	stop()
	b.Close()

	b = open(t, dir, nil)
	bad.Store(false)
	drain(t, b, d, withPoison(relay.PoisonPause))
	s = status(t, b, func(s relay.QueueStatus) bool { return s.Drain != "" })
	require.True(t, s.Paused)
	require.Len(t, d.bodies(), 2)
	require.NoError(t, b.Resume(t.Context(), queue))
	s = status(t, b, settled)
	require.EqualValues(t, 2, s.Delivered)
	require.Equal(t, []string{"1", "1", "1", "2"}, d.bodies())
	m, err := b.Message(t.Context(), first.ID)
	require.NoError(t, err)
	require.Equal(t, 3, m.Attempts)
	balanced(t, b)
}

// A pause that an event asks for is not lost by a crash before it is stored: no
// checkpoint has passed the event, and no drain is let in meanwhile.
func TestAPauseForAMessageSurvivesACrash(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	b := open(t, dir, nil)
	r := accept(t, b, message("host", "", "1"))
	require.NoError(t, broker.Record(t.Context(), b, queue, relay.Event{Sequence: 1, ID: r.ID, State: relay.Waiting, Attempt: 1,
		Status: 422, Reason: relay.ReasonRejected, Next: time.Now().Add(time.Hour), Pause: true}))
	status(t, b, func(s relay.QueueStatus) bool { return s.Paused && !broker.Dirty(b, queue) })
	require.NoError(t, broker.ForgetPause(t.Context(), b, queue))
	b.Close()

	b = open(t, dir, nil)
	d := newDestination(delivered)
	drain(t, b, d, nil)
	s := status(t, b, func(s relay.QueueStatus) bool { return s.Drain != "" && s.Paused })
	require.Contains(t, s.Pause.Reason, r.ID)
	require.Empty(t, d.bodies())
	require.NoError(t, b.Resume(t.Context(), queue))
	status(t, b, settled)
}

// A queue that was resumed is not paused again by a crash that has the event read
// once more which had paused it.
func TestAResumedQueueIsNotPausedAgainByACrash(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	b := open(t, dir, nil)
	r := accept(t, b, message("host", "", "1"))
	require.NoError(t, broker.Record(t.Context(), b, queue, relay.Event{Sequence: 1, ID: r.ID, State: relay.Waiting, Attempt: 1,
		Status: 422, Reason: relay.ReasonRejected, Next: time.Now().Add(time.Hour), Pause: true}))
	status(t, b, func(s relay.QueueStatus) bool { return s.Paused && !broker.Dirty(b, queue) })
	require.NoError(t, b.Resume(t.Context(), queue))
	require.NoError(t, broker.ForgetCheckpoint(t.Context(), b, queue))
	b.Close()

	b = open(t, dir, nil)
	status(t, b, func(s relay.QueueStatus) bool { return s.Waiting == 1 && !broker.Dirty(b, queue) })
	require.False(t, status(t, b, func(relay.QueueStatus) bool { return true }).Paused)
}

// Somebody else's pause is not replaced by one for a message.
func TestAPauseForAMessageReplacesNone(t *testing.T) {
	b := open(t, stateDir(t), nil)
	require.NoError(t, b.Pause(t.Context(), queue, "me", "upgrade"))
	r := accept(t, b, message("host", "", "1"))
	require.NoError(t, broker.Record(t.Context(), b, queue, relay.Event{Sequence: 1, ID: r.ID, State: relay.Waiting, Attempt: 1, Pause: true, Next: time.Now()}))
	s := status(t, b, func(s relay.QueueStatus) bool { return s.Waiting == 1 && !broker.Dirty(b, queue) })
	require.Equal(t, "me", s.Pause.By)
}

// A message that is discarded by policy is counted, says why it went, and leaves
// no letter; its lane goes on. It is no duplicate that may come again either.
func TestAPoisonousMessageIsDiscarded(t *testing.T) {
	b := open(t, stateDir(t), nil)
	d := newDestination(func(n int, m *relay.Message) relay.Result {
		if string(m.Body) == "bad" {
			return rejected(n, m)
		}
		return delivered(n, m)
	})
	drain(t, b, d, withPoison(relay.PoisonDiscard))
	bad := accept(t, b, message("host", "key", "bad"))
	accept(t, b, message("host", "", "good"))
	s := status(t, b, settled)
	require.Equal(t, []uint64{1, 1, 0}, []uint64{s.Delivered, s.Discarded, s.Dead})
	letters, err := b.DeadLetters(t.Context(), relay.DeadLetterFilter{})
	require.NoError(t, err)
	require.Empty(t, letters)
	m, err := b.Message(t.Context(), bad.ID)
	require.NoError(t, err)
	require.Equal(t, []any{relay.Discarded, relay.ReasonDiscardedByPolicy, 1}, []any{m.State, m.Reason, m.Attempts})
	require.Equal(t, "rejected: no: 100 % wrong ", m.Events[0].Detail)
	why, err := b.Why(t.Context(), bad.ID)
	require.NoError(t, err)
	require.Contains(t, why.Stands, "discarded_by_policy, answer 422: rejected: no: 100 % wrong")
	require.True(t, accept(t, b, message("host", "key", "bad")).Replayed, "its key is known still")
	balanced(t, b)
}

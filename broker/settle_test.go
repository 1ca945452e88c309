package broker_test

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

func rejected(int, *relay.Message) relay.Result {
	return relay.Result{Class: relay.ClassRejected, Status: 422, Reason: relay.ReasonRejected, Detail: "no: 100 % wrong\n"}
}

func TestADeadLetterIsKeptWholeAndReplayed(t *testing.T) {
	dir := stateDir(t)
	b := open(t, dir, nil)
	fail := atomic.Bool{}
	fail.Store(true)
	d := newDestination(func(n int, m *relay.Message) relay.Result {
		if fail.Load() {
			return rejected(n, m)
		}
		return delivered(n, m)
	})
	stop := drain(t, b, d, nil)
	r := accept(t, b, message("host", "k", "the body"))
	s := status(t, b, settled)
	require.EqualValues(t, 1, s.Dead)

	letters, err := b.DeadLetters(t.Context(), relay.DeadLetterFilter{})
	require.NoError(t, err)
	require.Len(t, letters, 1)
	require.Nil(t, letters[0].Body)
	l, err := b.DeadLetter(t.Context(), r.ID)
	require.NoError(t, err)
	require.Equal(t, "the body", string(l.Body))
	require.Equal(t, []any{"host", "k", relay.ReasonRejected, 422, 1, "no: 100 % wrong\n"},
		[]any{l.Lane, l.Key, l.Reason, l.Status, l.Attempts, l.Detail})
	balanced(t, b)

	stop()
	b.Close()
	b = open(t, dir, nil)
	fail.Store(false)
	drain(t, b, d, nil)
	receipt, err := b.Replay(t.Context(), r.ID, relay.Edit{})
	require.NoError(t, err)
	require.NotEqual(t, r.ID, receipt.ID)
	s = status(t, b, settled)
	require.Equal(t, []uint64{2, 0, 1, 1}, []uint64{s.Accepted, s.Dead, s.Delivered, s.Superseded})
	require.Equal(t, []string{"the body", "the body"}, d.bodies())
	old, err := b.Message(t.Context(), r.ID)
	require.NoError(t, err)
	require.Equal(t, []any{relay.Superseded, receipt.ID}, []any{old.State, old.ReplacedBy})
	_, err = b.DeadLetter(t.Context(), r.ID)
	require.Equal(t, relay.CodeNotFound, relay.CodeOf(err))
	_, err = b.Replay(t.Context(), r.ID, relay.Edit{})
	require.Equal(t, relay.CodeNotFound, relay.CodeOf(err))
	balanced(t, b)
}

func TestADiscardedLetterIsGoneAndCounted(t *testing.T) {
	b := open(t, stateDir(t), nil)
	drain(t, b, newDestination(rejected), nil)
	r := accept(t, b, message("host", "", "x"))
	status(t, b, settled)
	require.NoError(t, b.Discard(t.Context(), r.ID))
	s := status(t, b, settled)
	require.Equal(t, []uint64{0, 1}, []uint64{s.Dead, s.Discarded})
	require.Equal(t, relay.CodeNotFound, relay.CodeOf(b.Discard(t.Context(), r.ID)))
	balanced(t, b)
}

// A waiting message keeps its attempts and its next time over a restart, and
// its lane waits with it.
func TestWaitingSurvivesARestart(t *testing.T) {
	dir := stateDir(t)
	b := open(t, dir, nil)
	slow := func(o *relay.DrainOptions) {
		p := relay.DefaultPolicy()
		p.FirstDelay, p.MaxDelay = time.Hour, time.Hour
		o.Policy = func(string) relay.Policy { return p }
	}
	d := newDestination(func(_ int, m *relay.Message) relay.Result {
		if m.Lane == "blocked" {
			return relay.Result{Class: relay.ClassTransient, Status: 500}
		}
		return relay.Result{Class: relay.ClassDelivered}
	})
	stop := drain(t, b, d, slow)
	blocked := accept(t, b, message("blocked", "", "1"))
	accept(t, b, message("blocked", "", "2"))
	accept(t, b, message("free", "", "3"))
	s := status(t, b, func(s relay.QueueStatus) bool { return s.Delivered == 1 && s.Waiting == 1 })
	require.EqualValues(t, 2, s.Pending)
	before, err := b.Message(t.Context(), blocked.ID)
	require.NoError(t, err)
	require.Equal(t, relay.Waiting, before.State)
	stop()
	b.Close()

	b = open(t, dir, nil)
	drain(t, b, d, slow)
	accept(t, b, message("free", "", "4"))
	status(t, b, func(s relay.QueueStatus) bool { return s.Delivered == 2 })
	require.Equal(t, []string{"1", "3", "4"}, sorted(d.bodies()))
	after, err := b.Message(t.Context(), blocked.ID)
	require.NoError(t, err)
	require.Equal(t, before.NextAttempt, after.NextAttempt)
	require.Equal(t, 1, after.Attempts)
	balanced(t, b)
}

// An outage burns no attempt: nothing is recorded, and all goes on when the
// probe answers.
func TestAnOutageBurnsNoAttempt(t *testing.T) {
	b := open(t, stateDir(t), nil)
	var up atomic.Bool
	d := newDestination(func(n int, m *relay.Message) relay.Result {
		if up.Load() {
			return delivered(n, m)
		}
		return relay.Result{Class: relay.ClassUnavailable, Confirmed: relay.ClassTransient}
	})
	d.probe = func() error {
		if up.Load() {
			return nil
		}
		return errors.New("nobody there")
	}
	drain(t, b, d, nil)
	ids := []string{}
	for _, body := range []string{"1", "2", "3"} {
		ids = append(ids, accept(t, b, message("host", "", body)).ID)
	}
	status(t, b, func(relay.QueueStatus) bool { return len(d.bodies()) > 0 })
	m, err := b.Message(t.Context(), ids[0])
	require.NoError(t, err)
	require.Empty(t, m.Events)
	up.Store(true)
	s := status(t, b, settled)
	require.EqualValues(t, 3, s.Delivered)
	for _, id := range ids {
		m, err := b.Message(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, 1, m.Attempts)
		require.Len(t, m.Events, 1)
	}
	balanced(t, b)
}

// A backlog of one lane does not keep others from the index: what a lane has
// beyond its share is read again from the journal, in order.
func TestASpilledLaneKeepsItsOrderAndBlocksNobody(t *testing.T) {
	b := open(t, stateDir(t), nil)
	var open atomic.Bool
	d := newDestination(func(_ int, m *relay.Message) relay.Result {
		if m.Lane == "long" && !open.Load() {
			return relay.Result{Class: relay.ClassNotReady}
		}
		return relay.Result{Class: relay.ClassDelivered}
	})
	var want []string
	for i := range 100 {
		body := string(rune('A'+i/26)) + string(rune('a'+i%26))
		want = append(want, body)
		accept(t, b, message("long", "", body))
	}
	accept(t, b, message("other", "", "other"))
	drain(t, b, d, func(o *relay.DrainOptions) { o.Limits = relay.IndexLimits{Entries: 16, Lane: 4} })
	status(t, b, func(s relay.QueueStatus) bool { return s.Delivered == 1 })
	for i := range 20 { // and while it is drained, more comes
		body := "Z" + string(rune('a'+i))
		want = append(want, body)
		accept(t, b, message("long", "", body))
		if i == 10 {
			open.Store(true)
		}
	}
	status(t, b, settled)
	var got []string
	seen := map[string]bool{}
	for _, body := range d.bodies() {
		if body != "other" && !seen[body] {
			seen[body] = true
			got = append(got, body)
		}
	}
	require.Equal(t, want, got)
	balanced(t, b)
}

func TestAStreamThatWasChangedIsRefused(t *testing.T) {
	dir := stateDir(t)
	b := open(t, dir, nil)
	require.NoError(t, broker.ChangeStream(t.Context(), b, queue))
	b.Close()
	_, err := broker.Open(t.Context(), broker.Options{StateDir: dir, Queues: []relay.Queue{queue}})
	require.ErrorContains(t, err, "max_msgs is 5")
}

func sorted(s []string) []string {
	slices.Sort(s)
	return s
}

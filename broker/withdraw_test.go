package broker_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

// What is cancelled is not delivered any more, by a drain that had it in its
// index; what is under way, and what is settled, is left alone.
func TestACancelledMessageIsNotDelivered(t *testing.T) {
	b := open(t, stateDir(t), nil)
	begun, answer := make(chan struct{}), make(chan struct{})
	d := newDestination(func(n int, m *relay.Message) relay.Result {
		if n == 1 {
			close(begun)
			<-answer
		}
		return delivered(n, m)
	})
	drain(t, b, d, nil)
	first, second, third := accept(t, b, message("host", "", "1")), accept(t, b, message("host", "a key", "2")), accept(t, b, message("host", "", "3"))
	<-begun
	epoch := status(t, b, func(s relay.QueueStatus) bool { return s.Drain != "" }).Epoch
	require.NoError(t, b.Cancel(t.Context(), second.ID))
	m, err := b.Message(t.Context(), second.ID)
	require.NoError(t, err)
	require.Equal(t, []any{relay.Cancelled, relay.ReasonOperator}, []any{m.State, m.Reason})
	err = b.Cancel(t.Context(), first.ID)
	require.Equal(t, relay.CodeConflict, relay.CodeOf(err))
	require.ErrorContains(t, err, "is being delivered at this moment")
	close(answer)
	status(t, b, settled)
	require.Equal(t, []string{"1", "3"}, d.bodies())
	for id, says := range map[string]string{second.ID: "is cancelled", third.ID: "is delivered"} {
		err = b.Cancel(t.Context(), id)
		require.Equal(t, relay.CodeConflict, relay.CodeOf(err))
		require.ErrorContains(t, err, says)
	}
	require.Equal(t, relay.CodeNotFound, relay.CodeOf(b.Cancel(t.Context(), relay.FreshID(queue))))
	require.Equal(t, epoch, status(t, b, settled).Epoch, "the lease is kept")
	require.EqualValues(t, 1, balanced(t, b).Totals[relay.Cancelled])
}

// Nobody drains: nothing has to be waited for, and a drain that comes later
// delivers the rest.
func TestAPurgeDiscardsWhatTheFilterChooses(t *testing.T) {
	b := open(t, stateDir(t), nil)
	for i := range 10 {
		accept(t, b, message(fmt.Sprint("HOST", i%2), "", fmt.Sprint(i)))
	}
	before := time.Now()
	time.Sleep(time.Millisecond)
	accept(t, b, message("host1", "", "late"))
	f := relay.PurgeFilter{Host: "host1", Before: before, DryRun: true}
	p, err := b.Purge(t.Context(), queue, f)
	require.NoError(t, err)
	require.Equal(t, relay.Purged{}, p, "lanes are kept as they are accepted")
	for i := range 10 {
		accept(t, b, message(fmt.Sprint("host", i%2), "", fmt.Sprint(i)))
	}
	f.Before = time.Time{}
	p, err = b.Purge(t.Context(), queue, f)
	require.NoError(t, err)
	require.Equal(t, relay.Purged{Discarded: 6}, p)
	require.EqualValues(t, 21, status(t, b, func(relay.QueueStatus) bool { return true }).Pending, "a dry run changes nothing")
	f.DryRun = false
	p, err = b.Purge(t.Context(), queue, f)
	require.NoError(t, err)
	require.Equal(t, relay.Purged{Discarded: 6}, p)
	p, err = b.Purge(t.Context(), queue, f)
	require.NoError(t, err)
	require.Equal(t, relay.Purged{}, p, "nothing is left")
	d := newDestination(delivered)
	drain(t, b, d, nil)
	s := status(t, b, settled)
	require.Equal(t, []uint64{15, 6, 0}, []uint64{s.Delivered, s.Discarded, s.Dead})
	require.Len(t, d.bodies(), 15)
	balanced(t, b)
	_, err = b.Purge(t.Context(), relay.Queue{Organization: "nobody", Destination: "foreman"}, f)
	require.Equal(t, relay.CodeNotFound, relay.CodeOf(err))
}

// A drain that does not answer may be delivering: nothing is changed until its
// lease and its longest attempt are over. So may one that asks and asks, and has
// got none of the answers.
func TestASilentDrainHasToHeedFirst(t *testing.T) {
	b, certs := listening(t)
	c := dial(t, b, certs, "drain")
	ask := relay.LeaseRequest{Instance: "far", Session: "1", LongestAttempt: time.Hour, Breaker: "closed"}
	_, err := c.Lease(t.Context(), ask)
	require.NoError(t, err)
	r := accept(t, b, message("host", "", "1"))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	err = b.Cancel(ctx, r.ID)
	require.Equal(t, relay.CodeUnavailable, relay.CodeOf(err))
	s := status(t, b, func(relay.QueueStatus) bool { return true })
	require.Equal(t, []uint64{1, 0}, []uint64{s.Pending, s.Cancelled})

	done := make(chan error, 1)
	go func() { done <- b.Cancel(t.Context(), r.ID) }()
	for asked, heeded := 0, false; !heeded; asked++ {
		select {
		case <-c.Nudged(): // of this one, or of the end of the first
			answer, err := c.Lease(t.Context(), ask)
			require.NoError(t, err)
			if asked >= 5 {
				ask.Edge, ask.Answer = answer.Edge, answer.Answer
			}
		case err := <-done:
			require.NoError(t, err)
			require.Greater(t, asked, 5, "it has got no answer yet")
			heeded = true
		}
	}
	require.EqualValues(t, 1, status(t, b, settled).Cancelled)
}

// While a drain takes over, an attempt of the one before may be under way, of which
// nobody can ask: nothing is taken back until that is over.
func TestNothingIsTakenBackDuringATakeover(t *testing.T) {
	t.Parallel()
	for name, released := range map[string]bool{"the new one waits": false, "the new one has left again": true} {
		b, certs := listening(t)
		c := dial(t, b, certs, "drain")
		_, err := c.Lease(t.Context(), relay.LeaseRequest{Instance: "old", Session: "1", LongestAttempt: time.Hour})
		require.NoError(t, err)
		broker.ExpireLease(b, queue)
		ask := relay.LeaseRequest{Instance: "new", Session: "2", Breaker: "closed"}
		answer, err := c.Lease(t.Context(), ask)
		require.NoError(t, err)
		require.True(t, answer.Grants[0].Granted)
		require.Positive(t, answer.Grants[0].Wait)
		ask.Release = released
		r := accept(t, b, message("host", "", "1"))

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		done := make(chan error, 1)
		go func() { done <- b.Cancel(ctx, r.ID) }()
		for err = nil; err == nil; {
			select {
			case <-c.Nudged():
				ask.Edge, ask.Answer = answer.Edge, answer.Answer
				answer, err = c.Lease(t.Context(), ask)
				require.NoError(t, err)
			case err = <-done:
				require.Error(t, err, name)
				require.Equal(t, relay.CodeUnavailable, relay.CodeOf(err), name)
			}
		}
		cancel()
	}
}

// Two at one time would end each other's hold.
func TestOneWithdrawalAtATime(t *testing.T) {
	b, certs := listening(t)
	c := dial(t, b, certs, "drain")
	_, err := c.Lease(t.Context(), relay.LeaseRequest{Instance: "far", Session: "1", LongestAttempt: time.Hour})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := b.Purge(ctx, queue, relay.PurgeFilter{})
		done <- err
	}()
	<-c.Nudged()
	_, err = b.Purge(t.Context(), queue, relay.PurgeFilter{})
	require.Equal(t, relay.CodeConflict, relay.CodeOf(err))
	cancel()
	require.Error(t, <-done)
}

// While it is delivered from, a purge takes what is left: nothing is delivered
// that was purged, and nothing is lost.
func TestAPurgeWhileItDrains(t *testing.T) {
	b := open(t, stateDir(t), nil)
	d := newDestination(func(n int, m *relay.Message) relay.Result {
		time.Sleep(time.Millisecond)
		return delivered(n, m)
	})
	const all = 600
	for i := range all {
		accept(t, b, message(fmt.Sprint("host", i%7), "", fmt.Sprint(i)))
	}
	drain(t, b, d, nil)
	status(t, b, func(s relay.QueueStatus) bool { return s.Delivered > 20 })
	p, err := b.Purge(t.Context(), queue, relay.PurgeFilter{})
	require.NoError(t, err)
	s := status(t, b, settled)
	require.Equal(t, p.Discarded, s.Discarded)
	require.Positive(t, s.Discarded)
	require.EqualValues(t, all, s.Discarded+s.Delivered)
	require.Len(t, d.bodies(), int(s.Delivered))
	balanced(t, b)
}

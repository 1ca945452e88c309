package broker_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

func TestTheSameKeyGetsTheFirstAnswer(t *testing.T) {
	dir := stateDir(t)
	b := open(t, dir, nil)
	first := accept(t, b, message("a", "k", "body"))
	require.False(t, first.Replayed)

	check := func() {
		again := accept(t, b, message("a", "k", "body"))
		require.True(t, again.Replayed)
		require.Equal(t, first.ID, again.ID)
		require.WithinDuration(t, first.AcceptedAt, again.AcceptedAt, time.Millisecond)

		_, err := b.Accept(t.Context(), message("a", "k", "another body"))
		require.Equal(t, relay.CodeKeyConflict, relay.CodeOf(err))
		_, err = b.Accept(t.Context(), message("b", "k", "body"))
		require.Equal(t, relay.CodeKeyConflict, relay.CodeOf(err))
		require.EqualValues(t, 1, status(t, b, func(relay.QueueStatus) bool { return true }).Accepted)
	}
	check()
	b.Close()
	b = open(t, dir, nil)
	check()
	drain(t, b, newDestination(delivered), nil)
	status(t, b, settled)
	check() // while the journal keeps it, delivered or not
}

func TestOfManyAtOnceWithOneKeyOneIsStored(t *testing.T) {
	b := open(t, stateDir(t), nil)
	var wg sync.WaitGroup
	var mu sync.Mutex
	fresh, replayed := 0, 0
	for range 32 {
		wg.Go(func() {
			r, err := b.Accept(t.Context(), message("a", "k", "body"))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				t.Error(err)
			case r.Replayed:
				replayed++
			default:
				fresh++
			}
		})
	}
	wg.Wait()
	require.Equal(t, 1, fresh)
	require.Equal(t, 31, replayed)
	require.EqualValues(t, 1, status(t, b, func(relay.QueueStatus) bool { return true }).Accepted)
}

func TestWithoutAKeyEveryRequestIsAMessage(t *testing.T) {
	b := open(t, stateDir(t), nil)
	d := newDestination(delivered)
	drain(t, b, d, nil)
	for _, body := range []string{"A", "B", "A"} {
		accept(t, b, message("host", "", body))
	}
	status(t, b, settled)
	require.Equal(t, []string{"A", "B", "A"}, d.bodies())
}

// After the journal has trimmed a settled message, the settled record still
// stops a second delivery of its key.
func TestAKeySettledBeyondTheJournalIsADuplicate(t *testing.T) {
	dir := stateDir(t)
	short := func(o *broker.Options) { o.JournalWindow = time.Millisecond }
	b := open(t, dir, short)
	d := newDestination(delivered)
	stop := drain(t, b, d, nil)
	first := accept(t, b, message("a", "k", "body"))
	status(t, b, func(s relay.QueueStatus) bool { return s.Pending == 0 && s.Bytes == 0 }) // settled and trimmed

	for range 2 { // in the same process, and after a start
		again := accept(t, b, message("a", "k", "body"))
		require.Equal(t, first.ID, again.ID)
		require.False(t, again.Replayed)
		status(t, b, func(s relay.QueueStatus) bool { return s.Pending == 0 && s.Bytes == 0 })
		stop()
		b.Close()
		b = open(t, dir, short)
		stop = drain(t, b, d, nil)
	}
	s := status(t, b, settled)
	require.EqualValues(t, 1, s.Delivered)
	require.GreaterOrEqual(t, s.Duplicate, uint64(1))
	require.Len(t, d.bodies(), 1)
	balanced(t, b)
}

func TestAFullJournalGivesItsSettledMessagesUpFirst(t *testing.T) {
	b := open(t, stateDir(t), func(o *broker.Options) { o.QuotaBytes = 64 << 10 })
	body := string(make([]byte, 1024))
	var err error
	stored := 0
	for range 1000 {
		if _, err = b.Accept(t.Context(), message("a", fmt.Sprint("k", stored), body)); err != nil {
			break
		}
		stored++
	}
	require.Equal(t, relay.CodeStorageFull, relay.CodeOf(err), "pending messages are never given up")
	require.Greater(t, stored, 20)
	var refused *relay.Error
	require.ErrorAs(t, err, &refused)
	require.Positive(t, refused.RetryAfter)
	r := accept(t, b, message("a", "k0", body)) // a known key is answered even then
	require.True(t, r.Replayed)

	d := newDestination(delivered)
	drain(t, b, d, nil)
	status(t, b, settled)
	accept(t, b, message("a", "new", body)) // settled ones make room at once
	status(t, b, settled)
	require.Len(t, d.bodies(), stored+1)
	balanced(t, b)
}

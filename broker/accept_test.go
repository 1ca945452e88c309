package broker_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

// disk is a sync that the test holds up and lets go.
type disk struct {
	begun   chan struct{}
	release chan error
	held    atomic.Bool
}

func (d *disk) flush() error {
	if !d.held.Load() {
		return nil
	}
	d.begun <- struct{}{}
	return <-d.release
}

func heldDisk(t *testing.T) (*disk, *broker.Broker) {
	t.Helper()
	d := &disk{begun: make(chan struct{}), release: make(chan error)}
	b := open(t, stateDir(t), func(o *broker.Options) { broker.WithFlush(o, d.flush) })
	d.held.Store(true)
	return d, b
}

type answer struct {
	receipt relay.Receipt
	err     error
}

func acceptLater(t *testing.T, b *broker.Broker, m *relay.Message) <-chan answer {
	t.Helper()
	done := make(chan answer, 1)
	go func() {
		r, err := b.Accept(t.Context(), m)
		done <- answer{r, err}
	}()
	return done
}

// Nobody is answered before a sync that began after the message was written has
// ended; a replay of the same key neither, although the message is there.
func TestNoAnswerBeforeTheDisk(t *testing.T) {
	d, b := heldDisk(t)
	first := acceptLater(t, b, message("a", "k", "body"))
	<-d.begun // the sync that covers the first one is under way
	again := acceptLater(t, b, message("a", "k", "body"))
	other := acceptLater(t, b, message("b", "", "other"))
	select {
	case a := <-first:
		t.Fatalf("answered before the sync has ended: %+v", a)
	case a := <-again:
		t.Fatalf("the replay was answered before any sync: %+v", a)
	case <-time.After(100 * time.Millisecond): // nothing happens: there is no signal for that
	}
	d.release <- nil
	a := <-first
	require.NoError(t, a.err)
	<-d.begun // the replay and the other wait for one that began later
	select {
	case a := <-again:
		t.Fatalf("the replay was answered by a sync that began before it: %+v", a)
	case <-other:
		t.Fatal("answered by a sync that began before it was written")
	default:
	}
	d.held.Store(false)
	d.release <- nil
	a = <-again
	require.NoError(t, a.err)
	require.True(t, a.receipt.Replayed)
	require.NoError(t, (<-other).err)
}

// A failed barrier: all that waited get 503, later ones too, readiness fails and
// the process is told; the next start takes notice and goes on.
func TestAFailedBarrier(t *testing.T) {
	dir := stateDir(t)
	d := &disk{begun: make(chan struct{}), release: make(chan error)}
	b := open(t, dir, func(o *broker.Options) { broker.WithFlush(o, d.flush) })
	kept := accept(t, b, message("a", "kept", "body"))
	d.held.Store(true)
	var waiting []<-chan answer
	for range 5 {
		waiting = append(waiting, acceptLater(t, b, message("a", "", "lost?")))
	}
	<-d.begun
	d.held.Store(false)
	d.release <- errors.New("input/output error")
	for _, w := range waiting {
		require.Equal(t, relay.CodeUnavailable, relay.CodeOf((<-w).err))
	}
	<-b.Failed()
	require.ErrorContains(t, b.Err(), "input/output error")
	require.Error(t, b.Ready(t.Context()))
	_, err := b.Accept(t.Context(), message("a", "", "later"))
	require.Equal(t, relay.CodeUnavailable, relay.CodeOf(err))
	b.Close()

	unsynced, err := broker.CheckMarker(dir)
	require.NoError(t, err)
	require.True(t, unsynced, "the next start knows")
	b = open(t, dir, nil)
	require.NoError(t, b.Ready(t.Context()))
	again := accept(t, b, message("a", "kept", "body"))
	require.Equal(t, []any{kept.ID, true}, []any{again.ID, again.Replayed})
	balanced(t, b)
}

// One sync serves all that wait, of every queue.
func TestManyShareOneSync(t *testing.T) {
	var syncs atomic.Int64
	b := open(t, stateDir(t), func(o *broker.Options) {
		broker.WithFlush(o, func() error {
			syncs.Add(1)
			time.Sleep(5 * time.Millisecond) // a disk
			return nil
		})
	})
	syncs.Store(0)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range 5 {
				_, err := b.Accept(t.Context(), message("h", "", "x"))
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.Less(t, syncs.Load(), int64(100), "320 messages")
}

func TestAFullDiskIsNotEnteredAnew(t *testing.T) {
	b := open(t, stateDir(t), func(o *broker.Options) { o.ReserveBytes = 1 << 60 })
	_, err := b.Accept(t.Context(), message("a", "", "x"))
	var refused *relay.Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, relay.CodeStorageFull, refused.Code)
	require.Positive(t, refused.RetryAfter)
	_, err = b.Accept(t.Context(), &relay.Message{Queue: relay.Queue{Organization: "nobody", Destination: "foreman"}})
	require.Equal(t, relay.CodeNotFound, relay.CodeOf(err))
}

// Events beyond the record window are trimmed, after they were added up: the
// audit balances as before, also for the next start.
func TestTrimmedEventsLeaveTheLedgerBalanced(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	short := func(o *broker.Options) { o.RecordWindow, o.JournalWindow = time.Second, time.Second }
	b := open(t, dir, short)
	d := newDestination(func(n int, m *relay.Message) relay.Result {
		if string(m.Body) == "bad" {
			return rejected(n, m)
		}
		return delivered(n, m)
	})
	stop := drain(t, b, d, nil)
	for _, body := range []string{"1", "bad", "2", "3"} {
		accept(t, b, message("h", "", body))
	}
	status(t, b, settled)
	require.Eventually(t, func() bool {
		n, err := broker.Events(t.Context(), b, queue.Destination)
		return err == nil && n == 0
	}, 15*time.Second, 50*time.Millisecond)
	for range 2 {
		r := balanced(t, b)
		require.Equal(t, []uint64{4, 0, 3, 1}, []uint64{r.Accepted, r.Pending, r.Totals[relay.Delivered], r.Totals[relay.Dead]})
		stop()
		b.Close()
		b = open(t, dir, short)
		stop = drain(t, b, d, nil)
	}
	accept(t, b, message("h", "", "4"))
	status(t, b, settled)
	require.Len(t, d.bodies(), 5)
	balanced(t, b)
}

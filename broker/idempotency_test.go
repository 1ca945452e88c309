package broker_test

import (
	"fmt"
	"sync"
	"sync/atomic"
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

// A repeated request is answered with the first receipt and the state in which
// the message is by then, whoever drains.
func TestARepeatedRequestTellsThePresentState(t *testing.T) {
	for name, far := range map[string]bool{"drained here": false, "drained far away": true} {
		t.Run(name, func(t *testing.T) {
			b, certs := listening(t)
			first := map[string]relay.Receipt{}
			for _, body := range []string{"good", "bad", "later"} {
				first[body] = accept(t, b, message(body, "key of "+body, body))
				require.Equal(t, relay.Accepted, first[body].State)
			}
			check := func(want map[string]relay.State) {
				for body, state := range want {
					again := accept(t, b, message(body, "key of "+body, body))
					require.Equal(t, []any{state, true, first[body].ID}, []any{again.State, again.Replayed, again.ID})
					require.WithinDuration(t, first[body].AcceptedAt, again.AcceptedAt, time.Millisecond)
				}
			}
			check(map[string]relay.State{"good": relay.Queued, "bad": relay.Queued, "later": relay.Queued})
			var failed atomic.Bool
			d := newDestination(func(n int, m *relay.Message) relay.Result {
				switch {
				case m.Lane == "bad" && failed.CompareAndSwap(false, true):
					return rejected(n, m)
				case m.Lane == "later":
					return relay.Result{Class: relay.ClassNotReady}
				}
				return delivered(n, m)
			})
			slow := func(o *relay.DrainOptions) {
				p := relay.DefaultPolicy()
				o.Policy = func(string) relay.Policy { return p }
			}
			if far {
				runDrain(t, dial(t, b, certs, "drain"), d, slow)
			} else {
				drain(t, b, d, slow)
			}
			status(t, b, func(s relay.QueueStatus) bool { return s.Delivered == 1 && s.Dead == 1 && s.Waiting == 1 })
			check(map[string]relay.State{"good": relay.Delivered, "bad": relay.Dead, "later": relay.Waiting})
			_, err := b.Replay(t.Context(), first["bad"].ID, relay.Edit{})
			require.NoError(t, err)
			check(map[string]relay.State{"bad": relay.Superseded})
		})
	}
}

// A key says nothing about a request of another kind, even with the same body.
func TestAKeyIsOfOneRoute(t *testing.T) {
	b := open(t, stateDir(t), nil)
	accept(t, b, message("a", "k", "body"))
	other := message("a", "k", "body")
	other.Route = "report"
	_, err := b.Accept(t.Context(), other)
	require.Equal(t, relay.CodeKeyConflict, relay.CodeOf(err))
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
	t.Parallel()
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
	require.Equal(t, relay.CodeQuotaFull, relay.CodeOf(err), "pending messages are never given up")
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

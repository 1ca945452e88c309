package broker_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

// A pause stops delivery and not acceptance. It is told to the drain at once,
// outlives the edge, keeps the lease, and the order of the lane holds over it.
func TestAPausedQueueAcceptsAndDeliversNothing(t *testing.T) {
	dir := stateDir(t)
	b := open(t, dir, nil)
	d := newDestination(delivered)
	stop, pause := heedfulDrain(t, b, d)
	want := []string{"1"}
	accept(t, b, message("host", "", "1"))
	epoch := status(t, b, func(s relay.QueueStatus) bool { return s.Delivered == 1 && s.Drain != "" }).Epoch

	before := time.Now()
	pause()
	s, err := b.Queue(t.Context(), queue)
	require.NoError(t, err)
	require.True(t, s.Paused)
	require.Equal(t, []string{"an operator", "upgrade.[2J"}, []string{s.Pause.By, s.Pause.Reason})
	require.WithinDuration(t, before, s.Pause.At, time.Minute)
	for i := range 20 {
		want = append(want, fmt.Sprint(i))
		accept(t, b, message("host", "", fmt.Sprint(i)))
	}
	s = status(t, b, func(s relay.QueueStatus) bool { return s.Accepted == 21 })
	require.Equal(t, []uint64{20, 0, 1}, []uint64{s.Pending, s.Delivering, s.Delivered})
	require.Equal(t, epoch, s.Epoch, "the lease is kept")
	stop()
	b.Close()

	b = open(t, dir, nil)
	stop = drain(t, b, d, nil)
	s = status(t, b, func(s relay.QueueStatus) bool { return s.Drain != "" })
	require.True(t, s.Paused)
	require.Equal(t, "an operator", s.Pause.By)
	require.Len(t, d.bodies(), 1)
	epoch = s.Epoch
	require.NoError(t, b.Resume(t.Context(), queue))
	s = status(t, b, settled)
	require.False(t, s.Paused)
	require.Nil(t, s.Pause)
	require.Equal(t, epoch, s.Epoch, "going on needs no other lease")
	require.Equal(t, want, d.bodies())
	balanced(t, b)
	stop()
	b.Close()

	b = open(t, dir, nil)
	s, err = b.Queue(t.Context(), queue)
	require.NoError(t, err)
	require.False(t, s.Paused, "the end of a pause is kept too")
}

// heedful sees what the drain is told of its queue: once it asks again after an
// answer that says paused, it has ended its term.
type heedful struct {
	relay.Registrar
	told   atomic.Bool
	heeded chan struct{}
}

func (h *heedful) Lease(ctx context.Context, r relay.LeaseRequest) (relay.LeaseReply, error) {
	if h.told.Load() {
		select {
		case h.heeded <- struct{}{}:
		default:
		}
	}
	reply, err := h.Registrar.Lease(ctx, r)
	h.told.Store(err == nil && len(reply.Grants) == 1 && reply.Grants[0].Paused)
	return reply, err
}

// heedfulDrain runs a drain; pause pauses the queue and waits until the drain
// has heeded it, which must be long before it would have asked by itself.
func heedfulDrain(t *testing.T, b *broker.Broker, d relay.Destination) (stop, pause func()) {
	h := &heedful{heeded: make(chan struct{}, 1)}
	stop = drain(t, b, d, func(o *relay.DrainOptions) {
		h.Registrar, o.Registrar = o.Registrar, h
	})
	return stop, func() {
		t.Helper()
		for {
			require.NoError(t, b.Pause(t.Context(), queue, "an operator", "upgrade\x1b[2J")) // each one has the drain ask at once
			select {
			case <-h.heeded:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}

// What is under way when a queue is paused ends as it will, and is recorded.
func TestAnAttemptUnderWayIsNotCutOffByAPause(t *testing.T) {
	b := open(t, stateDir(t), nil)
	begun, answer := make(chan struct{}), make(chan struct{})
	d := newDestination(func(n int, m *relay.Message) relay.Result {
		if n == 1 {
			close(begun)
			<-answer
		}
		return delivered(n, m)
	})
	_, pause := heedfulDrain(t, b, d)
	first := accept(t, b, message("host", "", "1"))
	accept(t, b, message("host", "", "2"))
	<-begun
	pause()
	m, err := b.Message(t.Context(), first.ID)
	require.NoError(t, err)
	require.Equal(t, relay.Delivering, m.State)
	close(answer)
	s := status(t, b, func(s relay.QueueStatus) bool { return s.Delivered == 1 && s.Delivering == 0 })
	require.EqualValues(t, 1, s.Pending)
	require.NoError(t, b.Resume(t.Context(), queue))
	status(t, b, settled)
	require.Equal(t, []string{"1", "2"}, d.bodies())
}

// The drains are asked to ask: a pause need not wait for a renewal.
func TestAPauseIsToldAtOnce(t *testing.T) {
	t.Parallel()
	b, certs := listening(t)
	near, err := b.Connect(queue.Destination)
	require.NoError(t, err)
	defer near.Close()
	far := dial(t, b, certs, "drain")
	_, err = far.Lease(t.Context(), relay.LeaseRequest{Instance: "far", Session: "1"}) // it is connected
	require.NoError(t, err)
	for _, change := range []func() error{
		func() error { return b.Pause(t.Context(), queue, "", "") },
		func() error { return b.Resume(t.Context(), queue) },
	} {
		require.NoError(t, change())
		for name, c := range map[string]*broker.Channel{"near": near, "far": far} {
			select {
			case <-c.Nudged():
			case <-time.After(20 * time.Second):
				require.Fail(t, "not told", name)
			}
		}
	}
}

func TestOnlyAQueueCanBePaused(t *testing.T) {
	b := open(t, stateDir(t), nil)
	nobody := relay.Queue{Organization: "nobody", Destination: "foreman"}
	require.Equal(t, relay.CodeNotFound, relay.CodeOf(b.Pause(t.Context(), nobody, "", "")))
	require.Equal(t, relay.CodeNotFound, relay.CodeOf(b.Resume(t.Context(), nobody)))
	require.NoError(t, b.Resume(t.Context(), queue), "not paused: nothing to do")
	long := make([]byte, relay.MaxPauseText+1)
	require.Equal(t, relay.CodeMalformed, relay.CodeOf(b.Pause(t.Context(), queue, "", string(long))))
	require.NoError(t, b.Pause(t.Context(), queue, "a", "b"))
	require.NoError(t, b.Pause(t.Context(), queue, "c", "d"))
	s, err := b.Queue(t.Context(), queue)
	require.NoError(t, err)
	require.Equal(t, []string{"c", "d"}, []string{s.Pause.By, s.Pause.Reason}, "the last word counts")
}

package broker_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

func scheduled(m *relay.Message, in time.Duration) *relay.Message {
	m.NotBefore = time.Now().Add(in)
	return m
}

func urgent(m *relay.Message) *relay.Message {
	m.Urgent = true
	return m
}

// A scheduled message is shown as such, holds up nothing, and is delivered once
// it is due: never before, and at once when its lane is free.
func TestAScheduledMessageIsDeliveredWhenItIsDue(t *testing.T) {
	t.Parallel()
	b := open(t, stateDir(t), nil)
	var mu sync.Mutex
	at := map[string]time.Time{}
	d := newDestination(func(_ int, m *relay.Message) relay.Result {
		mu.Lock()
		defer mu.Unlock()
		at[string(m.Body)] = time.Now()
		return relay.Result{Class: relay.ClassDelivered}
	})
	due := scheduled(message("host", "", "scheduled"), 1500*time.Millisecond)
	r := accept(t, b, due)
	accept(t, b, scheduled(message("host", "", "tomorrow"), 24*time.Hour))
	for i := range 3 {
		accept(t, b, message("host", "", fmt.Sprint(i)))
	}
	drain(t, b, d, nil)
	s := status(t, b, func(s relay.QueueStatus) bool { return s.Delivered == 3 })
	require.Equal(t, []uint64{2, 2, 5}, []uint64{s.Pending, s.Scheduled, s.Accepted})
	m, err := b.Message(t.Context(), r.ID)
	require.NoError(t, err)
	require.Equal(t, relay.Scheduled, m.State)
	require.WithinDuration(t, due.NotBefore, *m.NotBefore, 0)
	why, err := b.Why(t.Context(), r.ID)
	require.NoError(t, err)
	require.Equal(t, []string{relay.BlockedByTime}, why.Blocked)

	s = status(t, b, func(s relay.QueueStatus) bool { return s.Delivered == 4 })
	require.Equal(t, []uint64{1, 1}, []uint64{s.Pending, s.Scheduled})
	require.Equal(t, []string{"0", "1", "2", "scheduled"}, d.bodies())
	mu.Lock()
	require.False(t, at["scheduled"].Before(due.NotBefore))
	mu.Unlock()
	balanced(t, b)
}

// What is scheduled, and what is urgent, is known again after a start of the
// edge, without what was settled or is due meanwhile.
func TestScheduledMessagesAreKnownAfterARestart(t *testing.T) {
	dir := stateDir(t)
	b := open(t, dir, nil)
	accept(t, b, message("a", "", "at once"))
	accept(t, b, scheduled(message("a", "", "1"), time.Hour))
	accept(t, b, urgent(scheduled(message("b", "", "2"), 2*time.Hour)))
	soon := accept(t, b, scheduled(message("c", "", "soon"), 300*time.Millisecond))
	d := newDestination(delivered)
	stop := drain(t, b, d, nil)
	status(t, b, func(s relay.QueueStatus) bool { return s.Delivered == 2 })
	stop()
	b.Close()

	b = open(t, dir, nil)
	s, err := b.Queue(t.Context(), queue)
	require.NoError(t, err)
	require.Equal(t, []uint64{2, 2}, []uint64{s.Pending, s.Scheduled})
	list, err := b.Messages(t.Context(), relay.MessageFilter{State: relay.Scheduled})
	require.NoError(t, err)
	require.Len(t, list.Messages, 2)
	require.Equal(t, []bool{true, false}, []bool{list.Messages[0].Urgent, list.Messages[1].Urgent})
	m, err := b.Message(t.Context(), soon.ID)
	require.NoError(t, err)
	require.Equal(t, relay.Delivered, m.State)
	drain(t, b, d, nil)
	accept(t, b, message("a", "", "later"))
	s = status(t, b, func(s relay.QueueStatus) bool { return s.Delivered == 3 })
	require.Equal(t, []uint64{2, 2}, []uint64{s.Pending, s.Scheduled})
	require.Equal(t, []string{"at once", "soon", "later"}, d.bodies())
	balanced(t, b)
}

// A message that expires is not tried again, and not delivered late; replayed it
// is not dead at once by its old time.
func TestAMessageIsNotDeliveredAfterItExpires(t *testing.T) {
	b := open(t, stateDir(t), nil)
	m := message("host", "", "late")
	m.Expires = time.Now().Add(400 * time.Millisecond)
	r := accept(t, b, m)
	var mu sync.Mutex
	var last time.Time
	d := newDestination(func(_ int, _ *relay.Message) relay.Result {
		mu.Lock()
		defer mu.Unlock()
		last = time.Now()
		return relay.Result{Class: relay.ClassTransient, Status: 500, Reason: relay.ReasonServerError}
	})
	stop := drain(t, b, d, nil)
	s := status(t, b, settled)
	require.EqualValues(t, 1, s.Dead)
	l, err := b.DeadLetter(t.Context(), r.ID)
	require.NoError(t, err)
	require.Equal(t, relay.ReasonExpired, l.Reason)
	require.Positive(t, l.Attempts)
	require.True(t, last.Before(m.Expires), "tried at %v, after %v", last, m.Expires)
	stop()

	d = newDestination(delivered)
	_, err = b.Replay(t.Context(), r.ID, relay.Edit{})
	require.NoError(t, err)
	drain(t, b, d, nil)
	s = status(t, b, settled)
	require.Equal(t, []string{"late"}, d.bodies())
	require.Equal(t, []uint64{1, 0}, []uint64{s.Superseded, s.Dead})
	balanced(t, b)
}

// A replay drops what the letter was scheduled for too.
func TestAReplayIsDueAtOnce(t *testing.T) {
	b := open(t, stateDir(t), nil)
	m := scheduled(message("host", "", "x"), 200*time.Millisecond)
	r := accept(t, b, m)
	stop := drain(t, b, newDestination(func(int, *relay.Message) relay.Result {
		return relay.Result{Class: relay.ClassRejected, Status: 422}
	}), nil)
	status(t, b, settled)
	stop()
	again, err := b.Replay(t.Context(), r.ID, relay.Edit{})
	require.NoError(t, err)
	s, err := b.Message(t.Context(), again.ID)
	require.NoError(t, err)
	require.Equal(t, relay.Queued, s.State)
	require.Nil(t, s.NotBefore)
}

// The same key with other times is the same message.
func TestAKeyWithOtherTimesHasTheFirstReceipt(t *testing.T) {
	b := open(t, stateDir(t), nil)
	first := accept(t, b, message("host", "key", "x"))
	again := accept(t, b, urgent(scheduled(message("host", "key", "x"), time.Hour)))
	require.True(t, again.Replayed)
	require.Equal(t, first.ID, again.ID)
	s, err := b.Queue(t.Context(), queue)
	require.NoError(t, err)
	require.Equal(t, []uint64{1, 0}, []uint64{s.Accepted, s.Scheduled})
	known, err := b.Again(t.Context(), message("host", "key", "x"))
	require.NoError(t, err)
	require.True(t, known.Replayed)
	_, err = b.Again(t.Context(), message("host", "key", "y"))
	require.Equal(t, relay.CodeKeyConflict, relay.CodeOf(err))
	_, err = b.Again(t.Context(), message("host", "another", "x"))
	require.Equal(t, relay.CodeNotFound, relay.CodeOf(err))
}

// hearing sees when the drain was told of urgent messages.
type hearing struct {
	relay.Registrar
	told chan []uint64
}

func (h *hearing) Lease(ctx context.Context, r relay.LeaseRequest) (relay.LeaseReply, error) {
	reply, err := h.Registrar.Lease(ctx, r)
	for _, g := range reply.Grants {
		if len(g.Urgent) > 0 {
			h.told <- g.Urgent
		}
	}
	return reply, err
}

// stepped lets one delivery after the other pass.
func stepped() (*destination, chan struct{}) {
	step := make(chan struct{})
	return newDestination(func(int, *relay.Message) relay.Result {
		<-step
		return relay.Result{Class: relay.ClassDelivered}
	}), step
}

// smallDrain is a drain that reads ahead little and delivers one at a time.
func smallDrain(t *testing.T, b *broker.Broker, d relay.Destination) (*hearing, func()) {
	t.Helper()
	h := &hearing{told: make(chan []uint64, 100)}
	return h, drain(t, b, d, func(o *relay.DrainOptions) {
		gate := relay.DefaultGateOptions()
		gate.Concurrency = 1
		h.Registrar, o.Registrar = o.Registrar, h
		o.Limits, o.Gate = relay.IndexLimits{Entries: 8, Lane: 8}, relay.NewGate(gate, d.Probe)
	})
}

// An urgent message does not wait behind a backlog that the index has not read:
// not when it comes, and not after a restart of edge and drain.
func TestAnUrgentMessageDoesNotWaitBehindABacklog(t *testing.T) {
	const backlog = 200
	dir := stateDir(t)
	b := open(t, dir, nil)
	for i := range backlog {
		accept(t, b, message(fmt.Sprint("host", i%20), "", fmt.Sprint(i)))
	}
	d, step := stepped()
	h, stop := smallDrain(t, b, d)
	step <- struct{}{}
	accept(t, b, urgent(message("host1", "", "urgent 1")))
	require.Equal(t, []uint64{backlog + 1}, <-h.told)
	place := awaitBody(t, d, step, "urgent 1")
	require.Less(t, place, 30)

	accept(t, b, urgent(message("host1", "", "urgent 2")))
	accept(t, b, urgent(message("host1", "", "urgent 3")))
	stopped := make(chan struct{})
	go func() {
		stop()
		close(stopped)
	}()
	for running := true; running; { // the attempt that is under way ends
		select {
		case step <- struct{}{}:
		case <-stopped:
			running = false
		}
	}
	b.Close()
	b = open(t, dir, nil)
	delivered := len(d.bodies())
	h, _ = smallDrain(t, b, d)
	if !slices.Contains(d.bodies(), "urgent 3") {
		require.NotEmpty(t, <-h.told)
		require.Less(t, awaitBody(t, d, step, "urgent 3"), delivered+30)
	}
	close(step)
	status(t, b, settled)
	two, three := slices.Index(d.bodies(), "urgent 2"), slices.Index(d.bodies(), "urgent 3")
	require.Less(t, two, three, "in order")
	require.Less(t, three, backlog)
	require.Len(t, d.bodies(), backlog+3, "each once")
	require.Zero(t, broker.PendingUrgent(b, queue))
	balanced(t, b)
}

// awaitBody lets deliveries pass until this one has come; it returns its place.
func awaitBody(t *testing.T, d *destination, step chan struct{}, body string) int {
	t.Helper()
	for range 1000 {
		if place := slices.Index(d.bodies(), body); place >= 0 {
			return place
		}
		select {
		case step <- struct{}{}:
		case <-time.After(10 * time.Second):
			require.Fail(t, "nothing is delivered")
		}
	}
	require.Fail(t, "it never came", body)
	return 0
}

// Listings and the reading of lanes find marked messages and others alike.
func TestMarkedMessagesAreListed(t *testing.T) {
	b := open(t, stateDir(t), nil)
	accept(t, b, message("web", "", "plain"))
	accept(t, b, urgent(message("web", "", "urgent")))
	last := accept(t, b, scheduled(message("web", "", "scheduled"), time.Hour))
	accept(t, b, urgent(scheduled(message("web", "", "both"), time.Hour)))
	accept(t, b, message("other", "", "else"))
	for name, f := range map[string]relay.MessageFilter{"host": {Host: "web"}, "route and host": {Host: "web", Route: "message"}, "route": {Route: "message"}} {
		list, err := b.Messages(t.Context(), f)
		require.NoError(t, err)
		want := map[string]int{"host": 4, "route and host": 4, "route": 5}[name]
		require.Len(t, list.Messages, want, name)
	}
	why, err := b.Why(t.Context(), last.ID)
	require.NoError(t, err)
	require.Equal(t, 1, why.AheadCount, "the urgent one is no bulk")

	c, err := b.Connect(queue.Destination)
	require.NoError(t, err)
	defer c.Close()
	j, err := c.Journal(queue)
	require.NoError(t, err)
	lane := relay.LaneToken("web", "")
	sequences := func(entries []relay.Entry, err error) (found []uint64) {
		require.NoError(t, err)
		for _, e := range entries {
			found = append(found, e.Sequence)
		}
		return found
	}
	require.Equal(t, []uint64{1}, sequences(j.Lane(t.Context(), lane, false, 1, 9, 10)))
	require.Equal(t, []uint64{2, 4}, sequences(j.Lane(t.Context(), lane, true, 1, 9, 10)))
	require.Equal(t, []uint64{2}, sequences(j.Lane(t.Context(), lane, true, 1, 3, 10)))
	require.Equal(t, []uint64{3}, sequences(j.Scheduled(t.Context(), false, 1, 9, 10)))
	require.Equal(t, []uint64{4}, sequences(j.Scheduled(t.Context(), true, 1, 9, 10)))
}

// The drains are asked to renew for what is urgent, and for nothing else.
func TestTheDrainIsToldAtOnceOfWhatIsUrgent(t *testing.T) {
	b := open(t, stateDir(t), nil)
	c, err := b.Connect(queue.Destination)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, broker.Conn(c).Flush()) // it listens
	accept(t, b, message("host", "", "bulk"))
	accept(t, b, scheduled(message("host", "", "scheduled"), time.Hour))
	require.NoError(t, broker.EdgeConn(b).Flush())
	require.NoError(t, broker.Conn(c).Flush())
	require.Empty(t, c.Nudged())
	accept(t, b, urgent(message("host", "", "urgent")))
	select {
	case <-c.Nudged():
	case <-time.After(10 * time.Second):
		require.Fail(t, "nobody asks")
	}
}

// A message of which the edge was not told that it is stored is known once its
// sender asks again.
func TestWhatWasStoredUnnoticedIsNotedWithItsKey(t *testing.T) {
	b := open(t, stateDir(t), nil)
	m := func() *relay.Message { return scheduled(message("host", "key", "x"), time.Hour) }
	require.NoError(t, broker.StoreUnnoticed(t.Context(), b, m()))
	require.True(t, accept(t, b, m()).Replayed)
	s, err := b.Queue(t.Context(), queue)
	require.NoError(t, err)
	require.Equal(t, []uint64{1, 1}, []uint64{s.Accepted, s.Scheduled})
}

// A repeated request is told that its message is scheduled; one that is taken back
// is so no more.
func TestAScheduledMessageIsTakenBack(t *testing.T) {
	b := open(t, stateDir(t), nil)
	m := func() *relay.Message { return scheduled(message("host", "key", "x"), time.Hour) }
	id := accept(t, b, m()).ID
	require.Equal(t, relay.Scheduled, accept(t, b, m()).State)
	drain(t, b, newDestination(delivered), nil)
	status(t, b, func(s relay.QueueStatus) bool { return s.Drain != "" })
	require.NoError(t, b.Cancel(t.Context(), id))
	s := status(t, b, settled)
	require.Equal(t, []uint64{0, 1}, []uint64{s.Scheduled, s.Cancelled})
	list, err := b.Messages(t.Context(), relay.MessageFilter{State: relay.Scheduled})
	require.NoError(t, err)
	require.Empty(t, list.Messages)
	balanced(t, b)
}

package broker_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

// latestFacts makes facts a route of which only the newest is delivered.
func latestFacts(o *broker.Options) { o.Latest = []string{"facts"} }

// compacting tells a drain the same.
func compacting(o *relay.DrainOptions) {
	policy := o.Policy
	o.Policy = func(route string) relay.Policy {
		p := policy(route)
		p.Latest = route == "facts"
		return p
	}
}

func facts(host, body string) *relay.Message {
	m := message(host, "", body)
	m.Route = "facts"
	return m
}

// held is a destination that delivers nothing until it is opened.
type held struct {
	*destination
	open atomic.Bool
}

func newHeld() *held {
	h := &held{}
	h.destination = newDestination(func(n int, m *relay.Message) relay.Result {
		if h.open.Load() {
			return delivered(n, m)
		}
		return relay.Result{Class: relay.ClassUnavailable, Confirmed: relay.ClassTransient}
	})
	h.probe = func() error {
		if h.open.Load() {
			return nil
		}
		return errors.New("nobody there")
	}
	return h
}

// replacedBy requires that a message was superseded by a newer one, or by others
// that were in their turn.
func replacedBy(t *testing.T, b *broker.Broker, old, newer string) {
	t.Helper()
	for id, steps := old, 0; id != newer; steps++ {
		require.Less(t, steps, 10)
		m, err := b.Message(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, []any{relay.Superseded, relay.ReasonNewer}, []any{m.State, m.Reason}, id)
		id = m.ReplacedBy
	}
}

// Facts A, B and A again, with reports between them: the last A is delivered,
// every report is, in their order, and each of the others says what replaced it.
// The edge is closed in the middle and has to read its journal again.
func TestOnlyTheNewestFactsAreDelivered(t *testing.T) {
	for name, restart := range map[string]bool{"at once": false, "after a start": true} {
		t.Run(name, func(t *testing.T) {
			dir := stateDir(t)
			b := open(t, dir, latestFacts)
			a1 := accept(t, b, facts("web", "A"))
			accept(t, b, message("web", "", "report 1"))
			b1 := accept(t, b, facts("web", "B"))
			accept(t, b, message("web", "", "report 2"))
			other := facts("web", "of Ansible")
			other.Kind = "ansible"
			accept(t, b, other)
			accept(t, b, facts("db", "another host"))
			accept(t, b, facts("", "no host"))
			accept(t, b, facts("", "no host either"))
			a2 := accept(t, b, facts("web", "A"))
			if restart {
				b.Close()
				b = open(t, dir, latestFacts)
			}
			d := newDestination(delivered)
			drain(t, b, d, compacting)
			s := status(t, b, settled)
			require.Equal(t, []uint64{9, 7, 2}, []uint64{s.Accepted, s.Delivered, s.Superseded})
			web := slices.DeleteFunc(d.bodies(), func(body string) bool { return strings.Contains(body, "host") })
			require.Equal(t, []string{"report 1", "report 2", "of Ansible", "A"}, web)
			replacedBy(t, b, a1.ID, a2.ID)
			replacedBy(t, b, b1.ID, a2.ID)
			list, err := b.Messages(t.Context(), relay.MessageFilter{State: relay.Superseded})
			require.NoError(t, err)
			require.Len(t, list.Messages, 2)
			require.EqualValues(t, 2, balanced(t, b).Totals[relay.Superseded])
		})
	}
}

// While nothing can be delivered, what is replaced is settled all the same: it
// needs no attempt, no permit and no closed circuit.
func TestAnOutageIsCompacted(t *testing.T) {
	b := open(t, stateDir(t), latestFacts)
	d := newHeld()
	drain(t, b, d, compacting)
	first := accept(t, b, facts("web", "1"))
	status(t, b, func(s relay.QueueStatus) bool { return s.Breaker == "open" && len(d.bodies()) > 0 })
	attempts := len(d.bodies())
	var last relay.Receipt
	for i := range 5 {
		accept(t, b, message("web", "", fmt.Sprint("report ", i)))
		last = accept(t, b, facts("web", fmt.Sprint(i+2)))
	}
	status(t, b, func(s relay.QueueStatus) bool { return s.Superseded >= 1 && s.Breaker == "open" })
	require.Len(t, d.bodies(), attempts)
	d.open.Store(true)
	s := status(t, b, settled)
	replacedBy(t, b, first.ID, last.ID)
	require.Equal(t, []uint64{6, 5}, []uint64{s.Delivered, s.Superseded})
	require.Equal(t, []string{"report 0", "report 1", "report 2", "report 3", "report 4", "6"}, d.bodies()[attempts:])
	balanced(t, b)
}

// A head that failed and waits for its next attempt is replaced too, and its
// lane goes on at once.
func TestAWaitingMessageIsReplaced(t *testing.T) {
	b := open(t, stateDir(t), latestFacts)
	d := newDestination(func(n int, m *relay.Message) relay.Result {
		if string(m.Body) == "poison" {
			return relay.Result{Class: relay.ClassTransient, Status: 500}
		}
		return delivered(n, m)
	})
	drain(t, b, d, func(o *relay.DrainOptions) {
		compacting(o)
		policy := o.Policy
		o.Policy = func(route string) relay.Policy {
			p := policy(route)
			p.FirstDelay, p.MaxDelay = time.Hour, time.Hour
			return p
		}
	})
	first := accept(t, b, facts("web", "poison"))
	status(t, b, func(s relay.QueueStatus) bool { return s.Waiting == 1 })
	second := accept(t, b, facts("web", "good"))
	s := status(t, b, settled)
	require.Equal(t, []uint64{1, 1, 0}, []uint64{s.Delivered, s.Superseded, s.Waiting})
	replacedBy(t, b, first.ID, second.ID)
	balanced(t, b)
}

// What is being attempted is not taken back: its outcome is what happens.
func TestAnAttemptUnderWayIsNotSuperseded(t *testing.T) {
	b := open(t, stateDir(t), latestFacts)
	begun, end := make(chan struct{}), make(chan struct{})
	d := newDestination(func(n int, m *relay.Message) relay.Result {
		if n == 1 {
			close(begun)
			<-end
		}
		return delivered(n, m)
	})
	drain(t, b, d, compacting)
	accept(t, b, facts("web", "1"))
	<-begun
	second := accept(t, b, facts("web", "2"))
	third := accept(t, b, facts("web", "3"))
	status(t, b, func(s relay.QueueStatus) bool { return s.Superseded == 1 }) // it looked, and took the second
	close(end)
	s := status(t, b, settled)
	require.Equal(t, []uint64{2, 1}, []uint64{s.Delivered, s.Superseded})
	require.Equal(t, []string{"1", "3"}, d.bodies())
	replacedBy(t, b, second.ID, third.ID)
	balanced(t, b)
}

// A message that nobody was answered yet replaces nothing: a power cut may take
// it, and what it had replaced would be lost with it.
func TestOnlyWhatIsOnTheDiskReplaces(t *testing.T) {
	slow := &disk{begun: make(chan struct{}), release: make(chan error)}
	b := open(t, stateDir(t), func(o *broker.Options) { latestFacts(o); broker.WithFlush(o, slow.flush) })
	d := newHeld()
	drain(t, b, d, compacting)
	accept(t, b, facts("web", "1"))
	status(t, b, func(s relay.QueueStatus) bool { return s.Breaker == "open" && len(d.bodies()) > 0 })
	attempts := len(d.bodies())
	slow.held.Store(true)
	second := acceptLater(t, b, facts("web", "2"))
	<-slow.begun
	status(t, b, func(s relay.QueueStatus) bool { return s.Accepted == 2 })
	d.open.Store(true)
	status(t, b, func(s relay.QueueStatus) bool { return s.Delivered >= 1 })
	slow.held.Store(false)
	slow.release <- nil
	require.NoError(t, (<-second).err)
	s := status(t, b, settled)
	require.Equal(t, []uint64{2, 0}, []uint64{s.Delivered, s.Superseded})
	require.Equal(t, []string{"1", "2"}, d.bodies()[attempts:])
}

// What a killed process has left behind it may not be on the disk: it is synced
// before anything is replaced by it.
func TestWhatIsReadAgainIsOnTheDisk(t *testing.T) {
	slow := &disk{begun: make(chan struct{}), release: make(chan error)}
	b := open(t, stateDir(t), func(o *broker.Options) { latestFacts(o); broker.WithFlush(o, slow.flush) })
	accept(t, b, facts("web", "1"))
	require.Eventually(t, func() bool { return broker.Learned(b, queue) }, 10*time.Second, time.Millisecond)
	broker.Unlearn(b, queue)
	slow.held.Store(true)
	learned := make(chan bool, 1)
	go func() { learned <- broker.Learn(t.Context(), b, queue) }()
	select {
	case <-slow.begun:
	case <-learned:
		require.Fail(t, "it did not wait for the disk")
	}
	require.Zero(t, broker.Places(b, queue))
	require.False(t, broker.Learned(b, queue))
	slow.held.Store(false)
	slow.release <- nil
	require.True(t, <-learned)
	require.Equal(t, 1, broker.Places(b, queue))
}

// A newest message that died or was taken back replaces nothing.
func TestWhatIsNotDeliveredReplacesNothing(t *testing.T) {
	b := open(t, stateDir(t), latestFacts)
	accept(t, b, facts("web", "1"))
	second := accept(t, b, facts("web", "2"))
	m, err := b.Message(t.Context(), second.ID)
	require.NoError(t, err)
	require.NoError(t, broker.Record(t.Context(), b, queue, relay.Event{Sequence: m.Sequence, ID: m.ID, State: relay.Cancelled}))
	status(t, b, func(s relay.QueueStatus) bool { return s.Cancelled == 1 })
	d := newDestination(delivered)
	drain(t, b, d, compacting)
	s := status(t, b, settled)
	require.Equal(t, []uint64{1, 0}, []uint64{s.Delivered, s.Superseded})
	require.Equal(t, []string{"1"}, d.bodies())
}

// An edge that has not read its journal yet does not know what is newest: facts
// wait for it, and nothing else does.
func TestFactsWaitForAnEdgeThatDoesNotKnowYet(t *testing.T) {
	b := open(t, stateDir(t), latestFacts)
	accept(t, b, facts("web", "1"))
	accept(t, b, facts("web", "2"))
	require.Eventually(t, func() bool { return broker.Learned(b, queue) }, 10*time.Second, time.Millisecond)
	broker.Unlearn(b, queue)
	d := newDestination(delivered)
	drain(t, b, d, compacting)
	accept(t, b, message("web2", "", "report"))
	status(t, b, func(s relay.QueueStatus) bool { return s.Delivered == 1 })
	require.Equal(t, []string{"report"}, d.bodies())
	require.True(t, broker.Learn(t.Context(), b, queue))
	s := status(t, b, settled)
	require.Equal(t, []uint64{2, 1}, []uint64{s.Delivered, s.Superseded})
	require.Equal(t, []string{"report", "2"}, d.bodies())
	balanced(t, b)
}

// A backlog that is larger than the index, of few hosts: each fact but the newest
// of its host is superseded, and all reports come in their order.
func TestABacklogBeyondTheIndexIsCompacted(t *testing.T) {
	const hosts, each = 5, 40
	b := open(t, stateDir(t), latestFacts)
	for i := range each {
		for h := range hosts {
			accept(t, b, facts(fmt.Sprint("host", h), fmt.Sprintf("facts %02d", i)))
			accept(t, b, message(fmt.Sprint("host", h), "", fmt.Sprintf("report %02d", i)))
		}
	}
	d := newDestination(delivered)
	drain(t, b, d, func(o *relay.DrainOptions) {
		compacting(o)
		o.Limits = relay.IndexLimits{Entries: 24, Lane: 6}
	})
	s := status(t, b, settled)
	require.Equal(t, []uint64{hosts * (each + 1), hosts * (each - 1)}, []uint64{s.Delivered, s.Superseded})
	reports := map[string]string{}
	for _, m := range d.got {
		if m.Route == "facts" {
			require.Equal(t, fmt.Sprintf("facts %02d", each-1), string(m.Body))
			continue
		}
		require.Greater(t, string(m.Body), reports[m.Lane])
		reports[m.Lane] = string(m.Body)
	}
	balanced(t, b)
}

// What was left in the journal, because its lane had its share of the index, is
// looked up when it is read at last, and not only when its turn has come.
func TestTheRestOfALaneIsCompacted(t *testing.T) {
	b := open(t, stateDir(t), latestFacts)
	for _, report := range []string{"1", "2", "poison"} {
		accept(t, b, message("web", "", report))
	}
	old := accept(t, b, facts("web", "old"))
	newer := accept(t, b, facts("web", "new"))
	d := newDestination(func(n int, m *relay.Message) relay.Result {
		if string(m.Body) == "poison" {
			return relay.Result{Class: relay.ClassNotReady}
		}
		return delivered(n, m)
	})
	drain(t, b, d, func(o *relay.DrainOptions) {
		compacting(o)
		policy := o.Policy
		o.Policy = func(route string) relay.Policy {
			p := policy(route)
			p.SlowDelay, p.MaxDelay = time.Hour, time.Hour
			return p
		}
		o.Limits = relay.IndexLimits{Entries: 16, Lane: 2}
	})
	s := status(t, b, func(s relay.QueueStatus) bool { return s.Waiting == 1 && s.Superseded == 1 })
	require.EqualValues(t, 2, s.Pending)
	replacedBy(t, b, old.ID, newer.ID)
	balanced(t, b)
}

// More hosts than the edge remembers: what it has forgotten is delivered one by
// one, in order.
func TestTooManyPlaces(t *testing.T) {
	b := open(t, stateDir(t), func(o *broker.Options) { latestFacts(o); broker.WithPlaces(o, 2) })
	require.Eventually(t, func() bool { return broker.Learned(b, queue) }, 10*time.Second, time.Millisecond)
	for _, host := range []string{"a", "b", "c"} {
		accept(t, b, facts(host, host+"1"))
		accept(t, b, facts(host, host+"2"))
	}
	require.Equal(t, 2, broker.Places(b, queue))
	d := newDestination(delivered)
	drain(t, b, d, compacting)
	s := status(t, b, settled)
	require.Equal(t, []uint64{4, 2}, []uint64{s.Delivered, s.Superseded})
	require.Equal(t, []string{"a1", "a2", "b2", "c2"}, sorted(d.bodies()))
	require.Eventually(t, func() bool { return broker.Places(b, queue) == 0 }, 20*time.Second, 10*time.Millisecond, "what is settled is forgotten")
	balanced(t, b)
}

// A replay brings old news: it replaces nothing, and anything accepted after its
// message replaces it, whether that waits or was delivered long ago.
func TestAReplayOfOldFacts(t *testing.T) {
	b := open(t, stateDir(t), latestFacts)
	var fail atomic.Bool
	fail.Store(true)
	d := newDestination(func(n int, m *relay.Message) relay.Result {
		if fail.Load() {
			return rejected(n, m)
		}
		return delivered(n, m)
	})
	stop := drain(t, b, d, compacting)
	letter := func(host string) relay.Receipt {
		fail.Store(true)
		before := status(t, b, settled).Dead
		r := accept(t, b, facts(host, "old"))
		status(t, b, func(s relay.QueueStatus) bool { return s.Dead == before+1 })
		fail.Store(false)
		return r
	}
	deliveredNow, waits, alone := letter("delivered"), letter("waits"), letter("alone")
	newer := accept(t, b, facts("delivered", "new"))
	other := facts("alone", "of another kind")
	other.Kind = "ansible"
	accept(t, b, other)
	status(t, b, settled)
	broker.Unlearn(b, queue) // long ago: below the floor
	require.True(t, broker.Learn(t.Context(), b, queue))
	r, err := b.Replay(t.Context(), deliveredNow.ID, relay.Edit{})
	require.NoError(t, err)
	require.Equal(t, []any{deliveredNow.ID, relay.Superseded}, []any{r.ID, r.State})
	replacedBy(t, b, deliveredNow.ID, newer.ID)

	stop()
	pending := accept(t, b, facts("waits", "new"))
	_, err = b.Replay(t.Context(), waits.ID, relay.Edit{})
	require.NoError(t, err)
	replacedBy(t, b, waits.ID, pending.ID)

	again, err := b.Replay(t.Context(), alone.ID, relay.Edit{})
	require.NoError(t, err)
	drain(t, b, d, compacting)
	s := status(t, b, settled)
	require.Zero(t, s.Dead)
	m, err := b.Message(t.Context(), again.ID)
	require.NoError(t, err)
	require.Equal(t, relay.Delivered, m.State)
	require.Equal(t, []string{"new", "of another kind", "new", "old"}, d.bodies()[3:])
	balanced(t, b)
}

// A message is stored, and its sender is told that nobody knows; it sends it
// again. From that answer on it is the newest.
func TestARepeatedRequestIsTheNewest(t *testing.T) {
	b := open(t, stateDir(t), latestFacts)
	accept(t, b, facts("web", "1"))
	second := facts("web", "2")
	second.Key, second.ID = "k", relay.KeyedID(queue, "k")
	accept(t, b, second)
	broker.Unlearn(b, queue) // as if that answer had failed
	again := *second
	require.True(t, accept(t, b, &again).Replayed)
	require.Equal(t, 1, broker.Places(b, queue))
}

// Facts that are scheduled replace nothing while they are not due, and are
// replaced by newer ones when they are.
func TestScheduledFactsReplaceNothing(t *testing.T) {
	b := open(t, stateDir(t), latestFacts)
	accept(t, b, facts("web", "now"))
	later := facts("web", "later")
	later.NotBefore = time.Now().Add(time.Second)
	scheduled := accept(t, b, later)
	d := newDestination(delivered)
	drain(t, b, d, compacting)
	status(t, b, func(s relay.QueueStatus) bool { return s.Delivered == 1 })
	require.Equal(t, []string{"now"}, d.bodies())
	newer := accept(t, b, facts("web", "newer"))
	s := status(t, b, settled)
	require.Equal(t, []uint64{2, 1}, []uint64{s.Delivered, s.Superseded})
	require.Equal(t, []string{"now", "newer"}, d.bodies())
	replacedBy(t, b, scheduled.ID, newer.ID)
	balanced(t, b)
}

package broker

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/theforeman/foreman-relay/relay"
)

// agenda is what the edge knows of the messages of a queue that carry a mark:
// which are not due yet, and which are urgent. It has each from the moment it is
// stored, or from the journal at start, until it is settled.
type agenda struct {
	scheduled *roaring64.Bitmap // that were not due when it was looked at last
	due       dueTimes          // of these
	urgent    *roaring64.Bitmap // that are pending
	arrivals  []arrival         // of these, and of some that are settled, in the order of their numbers
	last      uint64            // number given last
}

// arrival is an urgent message with the number under which the drains are told
// of it: messages that are stored at one time may come to be known in any order.
type arrival struct{ number, sequence uint64 }

// dueTime is when a message is due, in Unix nanoseconds.
type dueTime struct {
	at       int64
	sequence uint64
}

func newAgenda() *agenda { return &agenda{scheduled: roaring64.New(), urgent: roaring64.New()} }

// note takes up a message that was stored.
func (a *agenda) note(sequence uint64, urgent bool, notBefore time.Time) {
	if !notBefore.IsZero() && a.scheduled.CheckedAdd(sequence) {
		heap.Push(&a.due, dueTime{notBefore.UnixNano(), sequence})
	}
	if urgent && a.urgent.CheckedAdd(sequence) {
		a.last++
		a.arrivals = append(a.arrivals, arrival{a.last, sequence})
	}
}

// settled drops a message.
func (a *agenda) settled(sequence uint64) {
	a.scheduled.Remove(sequence)
	if a.urgent.CheckedRemove(sequence) && len(a.arrivals) > 64+2*int(a.urgent.GetCardinality()) {
		a.compact()
	}
}

// compact drops the arrivals that are settled.
func (a *agenda) compact() {
	left := make([]arrival, 0, a.urgent.GetCardinality())
	for _, r := range a.arrivals {
		if a.urgent.Contains(r.sequence) {
			left = append(left, r)
		}
	}
	a.arrivals = left
}

// notDue are the sequences of the messages that are not due at now.
func (a *agenda) notDue(now time.Time) *roaring64.Bitmap {
	for len(a.due) > 0 && a.due[0].at <= now.UnixNano() {
		a.scheduled.Remove(heap.Pop(&a.due).(dueTime).sequence) //nolint:forcetypeassert // only these are pushed
	}
	return a.scheduled
}

// tell lists up to max pending urgent messages with a number above after and a
// sequence above cursor; it tells of all up to the number through.
func (a *agenda) tell(after, cursor uint64, max int) (sequences []uint64, through uint64) {
	through = after
	first, _ := slices.BinarySearchFunc(a.arrivals, after+1, func(r arrival, number uint64) int { return cmp.Compare(r.number, number) })
	for _, r := range a.arrivals[first:] {
		if r.sequence > cursor && a.urgent.Contains(r.sequence) {
			if len(sequences) == max {
				return sequences, through
			}
			sequences = append(sequences, r.sequence)
		}
		through = r.number
	}
	return sequences, through
}

// noted counts a message that was stored, and tells agenda and drains of one with a
// mark.
func (b *Broker) noted(m *relay.Message) {
	b.crowds.of(m.Queue).stored(m.Sequence)
	if !m.Urgent && m.NotBefore.IsZero() {
		return
	}
	b.accounts[m.Queue.Destination].note(m.Queue, m.Sequence, m.Urgent, m.NotBefore)
	if m.Urgent {
		b.leases.nudge(m.Queue.Destination)
	}
}

func (a *accounts) note(q relay.Queue, sequence uint64, urgent bool, notBefore time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if b := a.books[q.Token()]; !b.ledger.Settled(sequence) { // a drain may have been faster
		b.agenda.note(sequence, urgent, notBefore)
	}
}

// scheduled are the sequences of a queue's messages that are not due yet.
func (a *accounts) scheduled(q relay.Queue) []uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.books[q.Token()].agenda.notDue(time.Now()).ToArray()
}

// scheduledCount is how many there are.
func (a *accounts) scheduledCount(q relay.Queue) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.books[q.Token()].agenda.notDue(time.Now()).GetCardinality()
}

// tellUrgent adds to a grant what its holder wants to know.
func (a *accounts) tellUrgent(g *relay.Grant, status relay.DrainStatus) {
	a.mu.Lock()
	defer a.mu.Unlock()
	g.UrgentAfter = status.UrgentThrough
	g.Urgent, g.UrgentThrough = a.books[g.Queue.Token()].agenda.tell(status.UrgentThrough, status.Cursor, min(status.UrgentRoom, relay.MaxTold))
}

// openAgendas reads the marked messages that are pending.
func (b *Broker) openAgendas(ctx context.Context) error {
	for _, q := range b.queues() {
		if err := b.openAgenda(ctx, q); err != nil {
			return fmt.Errorf("scheduled and urgent messages of %s: %w", q, err)
		}
	}
	return nil
}

func (b *Broker) openAgenda(ctx context.Context, q relay.Queue) error {
	a := b.accounts[q.Destination]
	var floor uint64
	a.view(q, func(l *relay.Ledger) { floor = l.Floor() })
	a.mu.Lock()
	a.books[q.Token()].agenda = newAgenda()
	a.mu.Unlock()
	return b.walk(ctx, journalStream(q), []string{markFilter(q.Token(), "")}, floor+1, func(s *stored) bool {
		n, err := parseMessageSubject(s.subject)
		if err == nil {
			notBefore, _, _ := relay.EnvelopeTimes(s.header) // one that cannot be read is told by its attempt
			a.note(q, s.sequence, n.mark == markUrgent, notBefore)
		}
		return true
	})
}

// dueTimes is a heap by time.
type dueTimes []dueTime

func (h dueTimes) Len() int           { return len(h) }
func (h dueTimes) Less(i, j int) bool { return h[i].at < h[j].at }
func (h dueTimes) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *dueTimes) Push(x any) {
	*h = append(*h, x.(dueTime)) //nolint:forcetypeassert // container/heap passes what Push was given
}
func (h *dueTimes) Pop() any {
	old := *h
	d := old[len(old)-1]
	*h = old[:len(old)-1]
	return d
}

package relay

import (
	"cmp"
	"container/heap"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
)

// schedule holds the messages of a class that are not due yet: the earliest of
// them, no more than its limit. The others are left in the journal and read
// again when these are gone, so that any number of them is held in little memory
// and none is late for it.
type schedule struct {
	limit   int
	heap    appointments
	from    uint64      // the first sequence that was left in the journal; 0: none
	horizon appointment // what is not before it is left there, while from is not 0
	reading bool        // it is being read again
	// had are the messages that are here or were, as far as they may be read
	// again: two bytes at most for each that follows the oldest one here.
	had    *roaring64.Bitmap
	popped int // since had was cut
}

func newSchedule(limit int) schedule { return schedule{limit: limit, had: roaring64.New()} }

// appointment is a message and when it is due.
type appointment struct {
	due int64 // Unix nanoseconds
	item
	lane string
}

// before orders by time; what is due at one time, by sequence.
func (a appointment) before(b appointment) bool { return a.compare(b) < 0 }

func (a appointment) compare(b appointment) int {
	return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.sequence, b.sequence))
}

// add takes a message; it returns those, this one perhaps among them, that have
// to be left in the journal.
func (s *schedule) add(a appointment) (left []appointment) {
	if s.from != 0 && !a.before(s.horizon) {
		s.from = min(s.from, a.sequence)
		return []appointment{a}
	}
	heap.Push(&s.heap, a)
	s.had.Add(a.sequence)
	if len(s.heap) <= s.limit {
		return nil
	}
	return s.halve()
}

// halve leaves the later half in the journal: doing so one by one would cost a
// search for the latest each time.
func (s *schedule) halve() []appointment {
	slices.SortFunc(s.heap, appointment.compare) // a sorted slice is a heap
	keep := (len(s.heap) + 1) / 2
	left := s.heap[keep:]
	s.heap = slices.Clone(s.heap[:keep])
	s.horizon = left[0]
	for _, a := range left {
		s.had.Remove(a.sequence)
		if s.from == 0 || a.sequence < s.from {
			s.from = a.sequence
		}
	}
	return left
}

// popDue takes the first message that is due at now. The reader has come to cursor.
func (s *schedule) popDue(now int64, cursor uint64) (appointment, bool) {
	if len(s.heap) == 0 || s.heap[0].due > now {
		return appointment{}, false
	}
	if s.popped++; s.popped > s.limit {
		s.cut(cursor)
	}
	return heap.Pop(&s.heap).(appointment), true //nolint:forcetypeassert // only appointments are pushed
}

// cut drops of had what is not read again: reading begins with a message that was
// here, or that the reader has yet to come to, and with none before what is left
// already.
func (s *schedule) cut(cursor uint64) {
	s.popped = 0
	if s.from != 0 || s.reading {
		return
	}
	oldest := cursor + 1
	for _, a := range s.heap {
		oldest = min(oldest, a.sequence)
	}
	s.had.RemoveRange(0, oldest)
}

// wants says whether what was left has to be read again.
func (s *schedule) wants() bool { return s.from != 0 && !s.reading && len(s.heap) == 0 }

// appointments is a heap by time.
type appointments []appointment

func (h appointments) Len() int           { return len(h) }
func (h appointments) Less(i, j int) bool { return h[i].before(h[j]) }
func (h appointments) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *appointments) Push(x any) {
	*h = append(*h, x.(appointment)) //nolint:forcetypeassert // container/heap passes what Push was given
}
func (h *appointments) Pop() any {
	old := *h
	a := old[len(old)-1]
	old[len(old)-1] = appointment{}
	*h = old[:len(old)-1]
	return a
}

// appoint has a message wait until it is due, here or in the journal. It returns
// whether it is here.
func (x *index) appoint(c *class, e Entry) bool {
	x.remember(e)
	here := true
	for _, left := range c.schedule.add(appointment{due: nano(e.NotBefore), item: x.item(e), lane: strings.Clone(e.Lane)}) {
		x.taken.Remove(left.sequence) // the reader may still have to pass it
		delete(x.waits, left.sequence)
		delete(x.marks, left.sequence)
		here = here && left.sequence != e.Sequence
	}
	signal(x.readyC)
	return here
}

// meet moves what is due at now to its lane, as far as there is room beside what
// was read ahead.
func (x *index) meet(c *class, now int64) {
	for c.extra < c.beside {
		a, ok := c.schedule.popDue(now, x.cursor)
		if !ok {
			break
		}
		a.extra = true
		c.extra++
		if p := c.parked.lanes[a.lane]; p != nil { // it may go before the head that waits
			x.enlist(x.unpark(c, p))
		}
		x.put(x.lane(c, a.lane), a.item)
	}
	if c.schedule.wants() {
		signal(x.refillsC)
	}
}

// scheduleRequest is a schedule of which the journal holds the rest: from, and
// through, sequences.
type scheduleRequest struct {
	urgent        bool
	from, through uint64
}

// nextSchedule takes up a schedule to be read again.
func (x *index) nextSchedule() (scheduleRequest, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, c := range []*class{&x.urgent, &x.bulk} {
		if s := &c.schedule; s.wants() {
			r := scheduleRequest{c.urgent, s.from, x.cursor}
			s.reading, s.from = true, 0
			return r, true
		}
	}
	return scheduleRequest{}, false
}

// rescheduled takes a part of the answer; more says that others follow.
func (x *index) rescheduled(r scheduleRequest, entries []Entry, more bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	c := x.class(r.urgent)
	for _, e := range entries {
		if !e.NotBefore.IsZero() && !x.skip(e.Sequence) && !c.schedule.had.Contains(e.Sequence) {
			x.appoint(c, e)
		}
	}
	c.schedule.reading = more
	if c.schedule.wants() {
		signal(x.refillsC)
	}
}

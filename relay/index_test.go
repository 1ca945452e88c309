package relay

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The model: a journal, and per lane and class what is left of it in order. The
// index is driven through random reads, refills, attempts, outages and waits, and
// is told of urgent messages ahead; whatever happens, the head that it gives out
// is due, and the lane's oldest unsettled message but for those that are
// scheduled; no lane has two; and the index stays within its bound.
func TestIndexKeepsLanesInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newIndexModel(t)
		t.Repeat(map[string]func(*rapid.T){
			"read": m.read, "refill": m.refill, "attempt": m.attempt, "settle": m.settle, "tell": m.tell, "read told": m.readTold,
			"outage": m.outage, "wait": m.wait, "keep back": m.keepBack, "sweep": m.sweep, "pass time": m.passTime, "accept": m.accept, "": m.check,
		})
		m.finish(t)
	})
}

// modelLane is an ordering key and a class.
type modelLane struct {
	key    string
	urgent bool
}

func laneOf(e Entry) modelLane { return modelLane{e.Lane, e.Urgent} }

type indexModel struct {
	x       *index
	limits  IndexLimits
	journal []Entry
	left    map[modelLane][]uint64 // unsettled sequences in order
	busy    map[modelLane]Entry
	failed  map[uint64]int // failed attempts, by sequence
	told    int            // messages of the journal that the index was told of, if they are urgent
	now     time.Time
}

func newIndexModel(t *rapid.T) *indexModel {
	m := &indexModel{left: map[modelLane][]uint64{}, busy: map[modelLane]Entry{}, failed: map[uint64]int{}, now: time.Unix(1e9, 0),
		limits: IndexLimits{Entries: rapid.IntRange(1, 12).Draw(t, "entries"), Lane: rapid.IntRange(1, 4).Draw(t, "lane"),
			Parked: rapid.IntRange(0, 3).Draw(t, "parked")}}
	m.x = newIndex(m.limits, 0, func(sequence uint64) bool { return sequence%7 == 0 })
	if rapid.Bool().Draw(t, "budget") {
		m.x.budget = NewBudget(BudgetOptions{Percent: rapid.IntRange(0, 100).Draw(t, "percent"), Floor: 1})
	}
	return m
}

func (m *indexModel) accept(t *rapid.T) {
	for range rapid.IntRange(1, 5).Draw(t, "n") {
		e := Entry{Sequence: uint64(len(m.journal) + 1), Lane: rapid.SampledFrom([]string{"a", "a", "a", "b", "c"}).Draw(t, "lane"), Accepted: m.now,
			Urgent: rapid.SampledFrom([]bool{false, false, true}).Draw(t, "urgent")}
		if rapid.IntRange(0, 2).Draw(t, "scheduled") == 0 {
			e.NotBefore = m.now.Add(time.Duration(rapid.IntRange(0, 200).Draw(t, "ahead")) * time.Second)
		}
		m.journal = append(m.journal, e)
		if e.Sequence%7 != 0 { // those are settled before the term
			m.left[laneOf(e)] = append(m.left[laneOf(e)], e.Sequence)
		}
	}
}

func (m *indexModel) read(t *rapid.T) {
	free, _ := m.x.room()
	from := int(m.x.position())
	n := min(free, len(m.journal)-from, rapid.IntRange(1, 5).Draw(t, "n"))
	if n > 0 {
		m.x.add(m.journal[from : from+n])
	}
}

// tell is the edge's word of the urgent messages that were stored since the last.
func (m *indexModel) tell(*rapid.T) {
	var sequences []uint64
	s := m.x.status()
	for ; m.told < len(m.journal) && len(sequences) < s.UrgentRoom; m.told++ {
		if e := m.journal[m.told]; e.Urgent && e.Sequence > s.Cursor {
			sequences = append(sequences, e.Sequence)
		}
	}
	m.x.tell(s.UrgentThrough, uint64(m.told), sequences)
}

func (m *indexModel) readTold(*rapid.T) {
	if sequence, ok := m.x.nextTold(); ok {
		m.x.takeAhead(m.journal[sequence-1])
	}
}

func (m *indexModel) refill(t *rapid.T) {
	if r, ok := m.x.nextSchedule(); ok {
		m.readSchedule(t, r)
	}
	r, ok := m.x.nextRefill()
	if !ok {
		return
	}
	if rapid.Bool().Draw(t, "fails") {
		m.x.refillFailed(r)
		return
	}
	entries := m.lane(r)
	m.read(t) // the reader goes on meanwhile
	m.x.refilled(r, entries)
}

// lane is what the journal answers to a refill.
func (m *indexModel) lane(r refillRequest) (entries []Entry) {
	for _, e := range m.journal {
		if laneOf(e) == (modelLane{r.lane, r.urgent}) && e.Sequence >= r.from && e.Sequence <= r.through && len(entries) < m.limits.Lane &&
			(e.Urgent || e.NotBefore.IsZero()) { // bulk with a time has another subject
			entries = append(entries, e)
		}
	}
	return entries
}

// readSchedule answers in parts, between which others do something.
func (m *indexModel) readSchedule(t *rapid.T, r scheduleRequest) {
	var entries []Entry
	for _, e := range m.journal {
		if e.Urgent == r.urgent && !e.NotBefore.IsZero() && e.Sequence >= r.from && e.Sequence <= r.through {
			entries = append(entries, e)
		}
	}
	for len(entries) > 1 {
		m.x.rescheduled(r, entries[:1], true)
		entries = entries[1:]
		m.read(t)
		m.x.wakeDue(m.now)
	}
	m.x.rescheduled(r, entries, false)
}

func (m *indexModel) attempt(t *rapid.T) {
	m.x.wakeDue(m.now)
	e, ok := m.x.next()
	if !ok {
		return
	}
	l := laneOf(e)
	if other, two := m.busy[l]; two {
		t.Fatalf("lane %v has two attempts: %d and %d", l, other.Sequence, e.Sequence)
	}
	written := m.journal[e.Sequence-1]
	if !slices.Contains(m.left[l], e.Sequence) {
		t.Fatalf("lane %v: %d is tried, but is settled", l, e.Sequence)
	}
	if e.Next.After(m.now) || written.NotBefore.After(m.now) {
		t.Fatalf("%d is tried before its time", e.Sequence)
	}
	if want := later(written.Accepted, written.NotBefore); !e.Accepted.Equal(want) {
		t.Fatalf("the age of %d counts from %v, not from %v", e.Sequence, e.Accepted, want)
	}
	for _, s := range m.left[l] {
		if s < e.Sequence && written.NotBefore.IsZero() && m.journal[s-1].NotBefore.IsZero() {
			t.Fatalf("lane %v: %d is tried, but %d is before it", l, e.Sequence, s)
		}
	}
	if n := m.failed[e.Sequence]; e.Attempts != n || e.Failures != n {
		t.Fatalf("%d has failed %d times, and is tried as if it were %d", e.Sequence, n, e.Attempts)
	}
	m.busy[l] = e
}

func (m *indexModel) anyBusy(t *rapid.T) (Entry, bool) {
	for _, key := range []string{"a", "b", "c"} {
		for _, urgent := range []bool{true, false} {
			l := modelLane{key, urgent}
			if e, ok := m.busy[l]; ok && rapid.Bool().Draw(t, "this") {
				delete(m.busy, l)
				return e, true
			}
		}
	}
	return Entry{}, false
}

func (m *indexModel) settle(t *rapid.T) {
	if e, ok := m.anyBusy(t); ok {
		m.settled(e)
	}
}

func (m *indexModel) settled(e Entry) {
	l := laneOf(e)
	m.left[l] = slices.DeleteFunc(m.left[l], func(s uint64) bool { return s == e.Sequence })
	m.x.settle(e)
}

func (m *indexModel) outage(t *rapid.T) {
	if e, ok := m.anyBusy(t); ok {
		m.x.putBack(e)
	}
}

func (m *indexModel) wait(t *rapid.T) {
	if e, ok := m.anyBusy(t); ok {
		e.Attempts++
		e.Failures = e.Attempts
		m.failed[e.Sequence] = e.Attempts
		e.Next = m.now.Add(time.Duration(rapid.IntRange(1, 100).Draw(t, "seconds")) * time.Second)
		m.x.postpone(e)
	}
}

// keepBack is a wait that is no attempt.
func (m *indexModel) keepBack(t *rapid.T) {
	if e, ok := m.anyBusy(t); ok {
		e.Next = m.now.Add(time.Second)
		m.x.postpone(e)
	}
}

// sweep settles each head that was accepted before some time, parked or not.
func (m *indexModel) sweep(t *rapid.T) {
	before := m.now.Add(-time.Duration(rapid.IntRange(0, 300).Draw(t, "age")) * time.Second)
	old := func(e Entry) bool { return e.Accepted.Before(before) }
	for again := true; again; again = m.x.unparkExpired(old) {
		for _, l := range m.x.expired(old) {
			for e, ok := m.x.takeExpired(l, old); ok; e, ok = m.x.takeExpired(l, old) {
				if !slices.Contains(m.left[laneOf(e)], e.Sequence) || m.journal[e.Sequence-1].NotBefore.After(m.now) {
					t.Fatalf("%d is found too old, and is settled or not due", e.Sequence)
				}
				m.settled(e)
			}
		}
	}
	for _, c := range []*class{&m.x.urgent, &m.x.bulk} {
		for _, p := range c.parked.lanes {
			if old(m.journal[p.head.sequence-1]) && m.journal[p.head.sequence-1].NotBefore.IsZero() && c.extra < c.beside {
				t.Fatalf("%d is too old, parked and not found", p.head.sequence)
			}
		}
	}
}

func (m *indexModel) passTime(t *rapid.T) {
	m.now = m.now.Add(time.Duration(rapid.IntRange(1, 60).Draw(t, "seconds")) * time.Second)
}

func (m *indexModel) check(t *rapid.T) {
	free, _ := m.x.room()
	if free <= -max(1, m.limits.Entries/2)-m.limits.Lane {
		t.Fatalf("the index holds %d more than its bound", -free)
	}
	for _, c := range []*class{&m.x.urgent, &m.x.bulk} {
		if n := len(c.parked.lanes); n > m.limits.Parked || n != len(c.parked.due) {
			t.Fatalf("%d lanes are parked, %d are on their way", n, len(c.parked.due))
		}
		if c.extra > c.beside+1 || len(c.schedule.heap) > c.beside {
			t.Fatalf("%d beside the others and %d scheduled are more than %d", c.extra, len(c.schedule.heap), c.beside)
		}
	}
	if n := m.x.status().Delivering; n != len(m.busy) {
		t.Fatalf("%d attempts counted, %d under way", n, len(m.busy))
	}
}

// finish drains everything: nothing may be forgotten.
func (m *indexModel) finish(t *rapid.T) {
	for l, e := range m.busy {
		delete(m.busy, l)
		m.settled(e)
	}
	for range 10 * (len(m.journal) + 10) {
		m.now = m.now.Add(time.Hour)
		if from := int(m.x.position()); from < len(m.journal) {
			if free, _ := m.x.room(); free > 0 {
				m.x.add(m.journal[from : from+1])
			}
		}
		for r, ok := m.x.nextRefill(); ok; r, ok = m.x.nextRefill() {
			m.x.refilled(r, m.lane(r))
		}
		m.x.wakeDue(m.now)
		if r, ok := m.x.nextSchedule(); ok {
			m.readSchedule(t, r)
		}
		m.readTold(t)
		m.attempt(t)
		for l, e := range m.busy {
			delete(m.busy, l)
			m.settled(e)
		}
	}
	for lane, left := range m.left {
		if len(left) > 0 {
			t.Fatalf("lane %v: %v were never given out", lane, left)
		}
	}
	x := m.x
	x.add(nil) // what was taken ahead is forgotten with the next read
	if n := len(x.bulk.lanes) + len(x.urgent.lanes); n != 0 || x.entries != 0 || len(x.waits) != 0 || x.spilled != 0 || !x.taken.IsEmpty() ||
		x.bulk.extra != 0 || x.urgent.extra != 0 {
		t.Fatalf("an empty queue leaves %d lanes, %d entries, %d spilled and %d taken in the index", n, x.entries, x.spilled, x.taken.GetCardinality())
	}
}

func TestIndexGivesUpWhatIsTooOld(t *testing.T) {
	now := time.Unix(1e9, 0)
	x := newIndex(DefaultIndexLimits(), 0, func(uint64) bool { return false })
	x.add([]Entry{
		{Sequence: 1, Lane: "waits", Accepted: now.Add(-8 * 24 * time.Hour), Next: now.Add(time.Hour)},
		{Sequence: 2, Lane: "ready", Accepted: now.Add(-8 * 24 * time.Hour)},
		{Sequence: 3, Lane: "young", Accepted: now},
	})
	got := map[uint64]bool{}
	week := func(e Entry) bool { return now.Sub(e.Accepted) > 7*24*time.Hour }
	for _, l := range x.expired(week) {
		for e, ok := x.takeExpired(l, week); ok; e, ok = x.takeExpired(l, week) {
			got[e.Sequence] = true
			x.settle(e)
		}
	}
	require.Equal(t, map[uint64]bool{1: true, 2: true}, got)
	e, ok := x.next()
	require.True(t, ok)
	require.EqualValues(t, 3, e.Sequence)
}

func BenchmarkIndex(b *testing.B) {
	x := newIndex(DefaultIndexLimits(), 0, func(uint64) bool { return false })
	lanes := make([]string, 10000)
	for i := range lanes {
		lanes[i] = fmt.Sprint("lane", i)
	}
	for i := range b.N {
		x.add([]Entry{{Sequence: uint64(i + 1), Lane: lanes[i%len(lanes)]}})
		e, _ := x.next()
		x.settle(e)
	}
}

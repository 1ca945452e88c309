package relay

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The model: a journal, and per lane what is left of it in order. The index is
// driven through random reads, refills, attempts, outages and waits; whatever
// happens, the head that it gives out is the lane's oldest unsettled message,
// no lane has two, and the index stays within its bound.
func TestIndexKeepsLanesInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newIndexModel(t)
		t.Repeat(map[string]func(*rapid.T){
			"read": m.read, "refill": m.refill, "attempt": m.attempt, "settle": m.settle,
			"outage": m.outage, "wait": m.wait, "pass time": m.passTime, "accept": m.accept, "": m.check,
		})
		m.finish(t)
	})
}

type indexModel struct {
	x       *index
	limits  IndexLimits
	journal []Entry
	left    map[string][]uint64 // per lane, unsettled sequences in order
	busy    map[string]Entry
	failed  map[uint64]int // failed attempts, by sequence
	now     time.Time
}

func newIndexModel(t *rapid.T) *indexModel {
	m := &indexModel{left: map[string][]uint64{}, busy: map[string]Entry{}, failed: map[uint64]int{}, now: time.Unix(1e9, 0),
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
		e := Entry{Sequence: uint64(len(m.journal) + 1), Lane: rapid.SampledFrom([]string{"a", "a", "a", "b", "c"}).Draw(t, "lane"), Accepted: m.now}
		m.journal = append(m.journal, e)
		if e.Sequence%7 != 0 { // those are settled before the term
			m.left[e.Lane] = append(m.left[e.Lane], e.Sequence)
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

func (m *indexModel) refill(t *rapid.T) {
	r, ok := m.x.nextRefill()
	if !ok {
		return
	}
	if rapid.Bool().Draw(t, "fails") {
		m.x.refillFailed(r)
		return
	}
	var entries []Entry
	for _, e := range m.journal {
		if e.Lane == r.lane && e.Sequence >= r.from && e.Sequence <= r.through && len(entries) < m.limits.Lane {
			entries = append(entries, e)
		}
	}
	m.read(t) // the reader goes on meanwhile
	m.x.refilled(r, entries)
}

func (m *indexModel) attempt(t *rapid.T) {
	m.x.wakeDue(m.now)
	e, ok := m.x.next()
	if !ok {
		return
	}
	if other, two := m.busy[e.Lane]; two {
		t.Fatalf("lane %s has two attempts: %d and %d", e.Lane, other.Sequence, e.Sequence)
	}
	if want := m.left[e.Lane][0]; e.Sequence != want {
		t.Fatalf("lane %s: %d is tried, but %d is first", e.Lane, e.Sequence, want)
	}
	if e.Next.After(m.now) {
		t.Fatalf("%d is tried before its time", e.Sequence)
	}
	if n := m.failed[e.Sequence]; e.Attempts != n || e.Failures != n {
		t.Fatalf("%d has failed %d times, and is tried as if it were %d", e.Sequence, n, e.Attempts)
	}
	m.busy[e.Lane] = e
}

func (m *indexModel) anyBusy(t *rapid.T) (Entry, bool) {
	for _, lane := range []string{"a", "b", "c"} {
		if e, ok := m.busy[lane]; ok && rapid.Bool().Draw(t, "this") {
			delete(m.busy, lane)
			return e, true
		}
	}
	return Entry{}, false
}

func (m *indexModel) settle(t *rapid.T) {
	if e, ok := m.anyBusy(t); ok {
		m.left[e.Lane] = m.left[e.Lane][1:]
		m.x.settle(e)
	}
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

func (m *indexModel) passTime(t *rapid.T) {
	m.now = m.now.Add(time.Duration(rapid.IntRange(1, 60).Draw(t, "seconds")) * time.Second)
}

func (m *indexModel) check(t *rapid.T) {
	free, _ := m.x.room()
	if free < -m.limits.Lane*3-2*m.limits.roomAbove() {
		t.Fatalf("the index holds %d more than its bound", -free)
	}
	if n := len(m.x.parked.lanes); n > m.limits.Parked || n != len(m.x.parked.due) {
		t.Fatalf("%d lanes are parked, %d are on their way", n, len(m.x.parked.due))
	}
	if n := len(m.x.underway()); n != len(m.busy) {
		t.Fatalf("%d attempts counted, %d under way", n, len(m.busy))
	}
}

// finish drains everything: nothing may be forgotten.
func (m *indexModel) finish(t *rapid.T) {
	for _, e := range m.busy {
		m.left[e.Lane] = m.left[e.Lane][1:]
		m.x.settle(e)
	}
	clear(m.busy)
	for range 10 * (len(m.journal) + 10) {
		m.now = m.now.Add(time.Hour)
		if from := int(m.x.position()); from < len(m.journal) {
			if free, _ := m.x.room(); free > 0 {
				m.x.add(m.journal[from : from+1])
			}
		}
		for r, ok := m.x.nextRefill(); ok; r, ok = m.x.nextRefill() {
			var entries []Entry
			for _, e := range m.journal {
				if e.Lane == r.lane && e.Sequence >= r.from && e.Sequence <= r.through && len(entries) < m.limits.Lane {
					entries = append(entries, e)
				}
			}
			m.x.refilled(r, entries)
		}
		m.attempt(t)
		for lane, e := range m.busy {
			m.left[lane] = m.left[lane][1:]
			m.x.settle(e)
			delete(m.busy, lane)
		}
	}
	for lane, left := range m.left {
		if len(left) > 0 {
			t.Fatalf("lane %s: %v were never given out", lane, left)
		}
	}
	if len(m.x.lanes) != 0 || len(m.x.parked.lanes) != 0 || m.x.entries != 0 || len(m.x.waits) != 0 {
		t.Fatalf("an empty queue leaves %d lanes and %d entries in the index", len(m.x.lanes), m.x.entries)
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
	for e, ok := x.takeExpired(week); ok; e, ok = x.takeExpired(week) {
		got[e.Sequence] = true
		x.settle(e)
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

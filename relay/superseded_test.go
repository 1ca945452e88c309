package relay

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The model of the index, with messages that newer ones replace: whatever is
// taken out, from wherever in its lane, the rest comes in order, none twice and
// none is forgotten.
func TestIndexLosesNothingButWhatIsSuperseded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := supersedingModel{newIndexModel(t)}
		t.Repeat(map[string]func(*rapid.T){
			"read": m.read, "refill": m.refill, "attempt": m.attempt, "settle": m.settle, "outage": m.outage, "wait": m.wait,
			"keep back": m.keepBack, "sweep": m.sweep, "tell": m.tell, "read told": m.readTold, "pass time": m.passTime, "accept": m.accept, "supersede": m.supersede, "": m.check,
		})
		m.finish(t)
		if len(m.x.marks) != 0 || !m.x.withdrawn.IsEmpty() {
			t.Fatalf("an empty queue leaves %d marks and %d withdrawn in the index", len(m.x.marks), m.x.withdrawn.GetCardinality())
		}
	})
}

type supersedingModel struct{ *indexModel }

func (m supersedingModel) accept(t *rapid.T) {
	from := len(m.journal)
	m.indexModel.accept(t)
	for i := range m.journal[from:] {
		e := &m.journal[from+i]
		e.Route = rapid.SampledFrom([]string{"facts", "facts", "report"}).Draw(t, "route")
		e.Kind = rapid.SampledFrom([]string{"", "ansible"}).Draw(t, "kind")
		e.Latest = e.Route == "facts"
	}
}

func (m supersedingModel) supersede(t *rapid.T) {
	n := Newest{Place: Place{Lane: rapid.SampledFrom([]string{"a", "b", "c", "gone"}).Draw(t, "lane"), Route: "facts",
		Kind: rapid.SampledFrom([]string{"", "ansible"}).Draw(t, "kind")}, Sequence: rapid.Uint64Range(0, uint64(len(m.journal)+1)).Draw(t, "newest")}
	for _, e := range m.x.withdraw(n) {
		if e.place() != n.Place || e.Sequence >= n.Sequence {
			t.Fatalf("%d of %v is superseded by %d of %v", e.Sequence, e.place(), n.Sequence, n.Place)
		}
		if busy, ok := m.busy[laneOf(e)]; ok && busy.Sequence == e.Sequence {
			t.Fatalf("%d is superseded while it is tried", e.Sequence)
		}
		i := slices.Index(m.left[laneOf(e)], e.Sequence)
		if i < 0 {
			t.Fatalf("%d is superseded and was settled", e.Sequence)
		}
		m.left[laneOf(e)] = slices.Delete(m.left[laneOf(e)], i, i+1)
	}
	for _, c := range []*class{&m.x.urgent, &m.x.bulk} {
		if l := c.lanes[n.Lane]; l != nil {
			m.remaining(t, l, n)
		}
	}
}

func (m supersedingModel) remaining(t *rapid.T, l *lane, n Newest) {
	for _, i := range l.items {
		e := m.x.entry(l, i)
		if _, busy := m.x.busy[i.sequence]; !busy && e.Latest && e.place() == n.Place && i.sequence < n.Sequence {
			t.Fatalf("%d is not superseded by %d", i.sequence, n.Sequence)
		}
	}
}

func TestALaneGoesOnWhenItsWaitingHeadIsSuperseded(t *testing.T) {
	now := time.Unix(1e9, 0)
	x := newIndex(DefaultIndexLimits(), 0, func(uint64) bool { return false })
	x.add([]Entry{
		{Sequence: 1, Lane: "a", Route: "facts", Latest: true, ID: "one", Keyed: true, Attempts: 3, Next: now.Add(time.Hour)},
		{Sequence: 2, Lane: "a", Route: "report"},
		{Sequence: 3, Lane: "a", Route: "facts", Latest: true, ID: "three"},
	})
	ready, _ := x.wakeDue(now)
	require.False(t, ready)
	gone := x.withdraw(Newest{Place: Place{Lane: "a", Route: "facts"}, Sequence: 3})
	require.Len(t, gone, 1)
	require.Equal(t, []any{uint64(1), "one", true, 3}, []any{gone[0].Sequence, gone[0].ID, gone[0].Keyed, gone[0].Attempts})
	for _, want := range []uint64{2, 3} {
		ready, _ := x.wakeDue(now)
		require.True(t, ready)
		e, ok := x.next()
		require.True(t, ok)
		require.Equal(t, want, e.Sequence)
		x.settle(e)
	}
}

// What was superseded behind a head that waits does not come back when the lane
// is parked and read again from the journal.
func TestWhatIsSupersededStaysSoInAParkedLane(t *testing.T) {
	now := time.Unix(1e9, 0)
	x := indexOf(IndexLimits{Entries: 6, Lane: 6, Parked: 1})
	lane := []Entry{{Sequence: 1, Lane: "a", Route: "report"}, {Sequence: 2, Lane: "a", Route: "report"},
		{Sequence: 3, Lane: "a", Route: "facts", Latest: true}, {Sequence: 4, Lane: "a", Route: "facts", Latest: true}}
	x.add(lane)
	e, _ := x.next()
	require.Len(t, x.withdraw(Newest{Place: Place{Lane: "a", Route: "facts"}, Sequence: 4}), 1)
	x.add(nil)
	e.Attempts, e.Failures, e.Next = 1, 1, now
	x.add([]Entry{{Sequence: 5, Lane: "b"}})
	x.postpone(e)
	require.Len(t, x.bulk.parked.lanes, 1)
	var got []uint64
	for x.wakeDue(now); ; x.wakeDue(now) {
		if r, ok := x.nextRefill(); ok {
			x.refilled(r, lane[r.from-1:r.through-1])
		}
		e, ok := x.next()
		if !ok {
			break
		}
		got = append(got, e.Sequence)
		x.settle(e)
	}
	slices.Sort(got)
	require.Equal(t, []uint64{1, 2, 4, 5}, got)
	x.add(nil)
	require.True(t, x.withdrawn.IsEmpty())
}

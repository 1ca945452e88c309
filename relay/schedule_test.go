package relay

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
	"github.com/stretchr/testify/require"
)

func nothingSettled(uint64) bool { return false }

// A scheduled message does not hold up its lane; once due it goes before what is
// younger, but not before the attempt that is under way.
func TestAScheduledMessageDoesNotHoldUpItsLane(t *testing.T) {
	now := time.Unix(1e9, 0)
	x := newIndex(DefaultIndexLimits(), 0, nothingSettled)
	x.add([]Entry{{Sequence: 1, Lane: "a", Accepted: now, NotBefore: now.Add(time.Hour)}, {Sequence: 2, Lane: "a", Accepted: now},
		{Sequence: 3, Lane: "a", Accepted: now}, {Sequence: 4, Lane: "a", Accepted: now, NotBefore: now.Add(time.Minute)}})
	ready, _ := x.wakeDue(now)
	require.True(t, ready)
	two, _ := x.next()
	require.EqualValues(t, 2, two.Sequence)
	x.wakeDue(now.Add(2 * time.Hour)) // both are due while 2 is attempted
	_, ok := x.next()
	require.False(t, ok, "one at a time")
	two.Next = now.Add(3 * time.Hour)
	x.postpone(two)
	one, _ := x.next()
	require.EqualValues(t, 1, one.Sequence, "it waits for nothing younger, and 2 has to wait")
	require.Equal(t, now.Add(time.Hour), one.Accepted, "its age counts from when it was due")
	x.settle(one)
	ready, at := x.wakeDue(now.Add(2 * time.Hour))
	require.False(t, ready)
	require.Equal(t, now.Add(3*time.Hour), at)
	for _, want := range []uint64{2, 3, 4} {
		x.wakeDue(now.Add(3 * time.Hour))
		e, ok := x.next()
		require.True(t, ok)
		require.Equal(t, want, e.Sequence)
		x.settle(e)
	}
}

// With nothing else to do the dispatcher sleeps until the first one is due.
func TestTheFirstThatIsDueWakes(t *testing.T) {
	now := time.Unix(1e9, 0)
	x := newIndex(DefaultIndexLimits(), 0, nothingSettled)
	x.add([]Entry{{Sequence: 1, Lane: "a", NotBefore: now.Add(time.Hour)}, {Sequence: 2, Lane: "b", NotBefore: now.Add(time.Minute)}})
	ready, at := x.wakeDue(now)
	require.False(t, ready)
	require.Equal(t, now.Add(time.Minute), at)
}

// A hundred thousand scheduled messages take no room of the others, more of them
// than the index holds are left in the journal, and each comes when it is due:
// the latest accepted are due first.
func TestManyScheduledMessages(t *testing.T) {
	const n = 100_000
	start := time.Unix(1e9, 0)
	entry := func(sequence uint64) Entry {
		return Entry{Sequence: sequence, Lane: "a", Accepted: start, NotBefore: start.Add(time.Duration(n-sequence) * time.Second)}
	}
	x := newIndex(IndexLimits{Entries: 1 << 15, Lane: 100}, 0, nothingSettled)
	for sequence := uint64(1); sequence < n; sequence++ {
		x.add([]Entry{entry(sequence)})
		if len(x.bulk.schedule.heap) > 1<<14 {
			require.Fail(t, "more than the bound is kept")
		}
	}
	free, empty := x.room()
	require.Equal(t, 1<<15, free)
	require.True(t, empty)
	x.add([]Entry{{Sequence: n, Lane: "a", Accepted: start}})
	reads, now := 0, start
	for want := uint64(n); want > 0; {
		if r, ok := x.nextSchedule(); ok {
			reads++
			for from := r.from; from <= r.through; from += 1000 {
				var part []Entry
				for sequence := from; sequence < min(from+1000, r.through+1, n); sequence++ {
					part = append(part, entry(sequence))
				}
				x.rescheduled(r, part, from+1000 <= r.through)
			}
		}
		if want < n {
			now = entry(want).NotBefore
		}
		x.wakeDue(now)
		e, ok := x.next()
		if !ok { // the rest has to be read
			require.True(t, x.bulk.schedule.wants(), "%d is due and nobody comes", want)
			continue
		}
		if want != e.Sequence {
			require.Equal(t, want, e.Sequence)
		}
		x.settle(e)
		want--
	}
	require.LessOrEqual(t, reads, n>>13+1, "each brings half the bound at least")
	require.Empty(t, x.bulk.schedule.heap)
	require.LessOrEqual(t, x.bulk.schedule.had.GetCardinality(), uint64(n))
}

// What was scheduled and has gone is forgotten when it cannot be read again.
func TestAScheduleForgets(t *testing.T) {
	s := schedule{limit: 10, had: roaring64.New()}
	for i := uint64(1); i <= 1000; i++ {
		require.Empty(t, s.add(appointment{due: int64(i), item: item{sequence: i}}))
		if i > 5 {
			_, ok := s.popDue(int64(i), i)
			require.True(t, ok)
		}
	}
	require.LessOrEqual(t, s.had.GetCardinality(), uint64(20))
}

// Urgent messages go first, and after so many in a row one of bulk.
func TestUrgentBeforeBulk(t *testing.T) {
	x := newIndex(DefaultIndexLimits(), 0, nothingSettled)
	sequence := uint64(0)
	add := func(urgent bool, n int) {
		for range n {
			sequence++
			x.add([]Entry{{Sequence: sequence, Lane: "a", Urgent: urgent}})
		}
	}
	add(false, 3)
	add(true, 20)
	var got []bool
	for e, ok := x.next(); ok; e, ok = x.next() {
		got = append(got, e.Urgent)
		x.settle(e)
	}
	u := func(n int) []bool { return slices.Repeat([]bool{true}, n) }
	require.Equal(t, 8, urgentInARow)
	require.Equal(t, slices.Concat(u(8), []bool{false}, u(8), []bool{false}, u(4), []bool{false}), got)
}

// The two classes of an ordering key are two lanes: an urgent message does not
// wait for the bulk one that is being attempted, or is to be tried later.
func TestUrgentOvertakesItsOwnLane(t *testing.T) {
	x := newIndex(DefaultIndexLimits(), 0, nothingSettled)
	x.add([]Entry{{Sequence: 1, Lane: "a"}, {Sequence: 2, Lane: "a"}})
	one, _ := x.next()
	x.add([]Entry{{Sequence: 3, Lane: "a", Urgent: true}})
	three, ok := x.next()
	require.True(t, ok)
	require.EqualValues(t, 3, three.Sequence)
	one.Next = time.Unix(2e9, 0)
	x.postpone(one)
	x.settle(three)
	x.add([]Entry{{Sequence: 4, Lane: "a", Urgent: true}})
	four, ok := x.next()
	require.True(t, ok)
	require.EqualValues(t, 4, four.Sequence)
}

// An urgent message that the edge has told of is taken ahead of all that the
// index has no room to read, and once.
func TestUrgentAheadOfTheReader(t *testing.T) {
	x := newIndex(IndexLimits{Entries: 4, Lane: 4}, 0, nothingSettled)
	bulk := func(sequence uint64) Entry { return Entry{Sequence: sequence, Lane: "b"} }
	x.add([]Entry{bulk(1), bulk(2), bulk(3), bulk(4)})
	free, _ := x.room()
	require.Zero(t, free)
	require.Equal(t, 2, x.status().UrgentRoom)
	x.tell(7, 9, []uint64{999}) // for another index
	x.tell(0, 2, []uint64{3, 1000})
	require.EqualValues(t, 2, x.status().UrgentThrough)
	sequence, ok := x.nextTold()
	require.True(t, ok)
	require.EqualValues(t, 1000, sequence, "3 was read already")
	x.takeAhead(Entry{Sequence: 1000, Lane: "a", Urgent: true})
	e, _ := x.next()
	require.EqualValues(t, 1000, e.Sequence)
	x.settle(e)
	for sequence := uint64(5); sequence < 1000; sequence++ {
		e, ok := x.next()
		require.True(t, ok)
		x.settle(e)
		x.add([]Entry{bulk(sequence)})
	}
	x.add([]Entry{{Sequence: 1000, Lane: "a", Urgent: true}})
	for e, ok := x.next(); ok; e, ok = x.next() {
		require.False(t, e.Urgent, "it was delivered before")
		x.settle(e)
	}
	require.True(t, x.taken.IsEmpty())
}

// A hundred thousand lanes that expire at one time are found by one look at each,
// and one more at what is behind it.
func TestMassExpiry(t *testing.T) {
	const n = 100_000
	now := time.Unix(1e9, 0)
	x := newIndex(DefaultIndexLimits(), 0, nothingSettled)
	for i := range uint64(n) {
		x.add([]Entry{{Sequence: i + 1, Lane: strconv.FormatUint(i, 36), Accepted: now, Expires: now.Add(time.Hour)}})
	}
	looks := 0
	expired := func(e Entry) bool {
		looks++
		return e.Expires.Before(now.Add(2 * time.Hour))
	}
	settled := 0
	for _, l := range x.expired(expired) {
		for e, ok := x.takeExpired(l, expired); ok; e, ok = x.takeExpired(l, expired) {
			settled++
			x.settle(e)
		}
	}
	require.Equal(t, n, settled)
	require.LessOrEqual(t, looks, 2*n)
	require.Nil(t, x.bulk.ready.first)
	require.Empty(t, x.bulk.lanes)
}

// What is due and has no room is not waited for: it comes when there is room.
func TestWhatIsDueWaitsForRoom(t *testing.T) {
	now := time.Unix(1e9, 0)
	x := newIndex(IndexLimits{Entries: 2, Lane: 2}, 0, nothingSettled)
	x.appoint(&x.bulk, Entry{Sequence: 1, Lane: "a", NotBefore: now.Add(-time.Minute)})
	x.wakeDue(now)
	one, ok := x.next()
	require.True(t, ok)
	x.appoint(&x.bulk, Entry{Sequence: 2, Lane: "b", NotBefore: now.Add(-time.Second)})
	ready, at := x.wakeDue(now)
	require.False(t, ready)
	require.Zero(t, at, "else the dispatcher would look again and again")
	x.settle(one)
	require.Len(t, x.roomC, 1, "a reader that waits for an empty index looks again")
	ready, _ = x.wakeDue(now)
	require.True(t, ready)
}

// What comes due while the head of its lane is attempted does not take its place:
// the attempt settles what it was made for.
func TestAnAttemptSettlesItsOwnMessage(t *testing.T) {
	now := time.Unix(1e9, 0)
	x := newIndex(DefaultIndexLimits(), 0, nothingSettled)
	x.add([]Entry{{Sequence: 1, Lane: "a", NotBefore: now}, {Sequence: 2, Lane: "a"}})
	two, _ := x.next()
	x.wakeDue(now)
	x.settle(two)
	one, ok := x.next()
	require.True(t, ok)
	require.EqualValues(t, 1, one.Sequence)
}

// An urgent message that was taken ahead, and for which the schedule has no room
// any more, is taken again by the reader.
func TestWhatWasTakenAheadAndLeftIsReadAgain(t *testing.T) {
	now := time.Unix(1e9, 0)
	x := newIndex(IndexLimits{Entries: 2, Lane: 2}, 0, nothingSettled)
	at := func(sequence uint64, in time.Duration) Entry {
		return Entry{Sequence: sequence, Lane: "a", Urgent: true, NotBefore: now.Add(in)}
	}
	x.takeAhead(at(10, time.Hour))
	x.add([]Entry{at(1, time.Minute)})
	require.True(t, x.urgent.schedule.had.Contains(1))
	require.False(t, x.urgent.schedule.had.Contains(10))
	x.wakeDue(now.Add(time.Minute))
	one, _ := x.next()
	x.settle(one)
	r, ok := x.nextSchedule()
	require.True(t, ok)
	x.rescheduled(r, nil, false) // 10 is behind what was read
	x.add([]Entry{at(10, time.Hour)})
	x.wakeDue(now.Add(time.Hour))
	ten, ok := x.next()
	require.True(t, ok)
	require.EqualValues(t, 10, ten.Sequence)
}

// An urgent message that was scheduled, taken ahead of the reader and has gone is
// not taken again when the reader leaves an earlier one in the journal.
func TestWhatWasScheduledAheadIsNotReadAgain(t *testing.T) {
	now := time.Unix(1e9, 0)
	x := newIndex(IndexLimits{Entries: 2, Lane: 2}, 0, nothingSettled)
	at := func(sequence uint64, in time.Duration) Entry {
		return Entry{Sequence: sequence, Lane: strconv.FormatUint(sequence, 10), Urgent: true, NotBefore: now.Add(in)}
	}
	settled := map[uint64]int{}
	drain := func() {
		for x.wakeDue(now); ; x.wakeDue(now) {
			e, ok := x.next()
			if !ok {
				return
			}
			settled[e.Sequence]++
			x.settle(e)
		}
	}
	for _, sequence := range []uint64{27, 28, 29} {
		x.takeAhead(at(sequence, time.Second))
		now = now.Add(time.Minute)
		drain()
	}
	x.add([]Entry{at(25, time.Hour), at(26, time.Minute), at(27, 0), at(28, 0), at(29, 0)}) // there is no room for 25 and 26
	now = now.Add(2 * time.Minute)
	drain()
	now = now.Add(2 * time.Hour)
	for r, ok := x.nextSchedule(); ok; r, ok = x.nextSchedule() {
		var entries []Entry
		for sequence := r.from; sequence <= r.through; sequence++ {
			entries = append(entries, at(sequence, 0))
		}
		x.rescheduled(r, entries, false)
		drain()
	}
	require.Equal(t, map[uint64]int{25: 1, 26: 1, 27: 1, 28: 1, 29: 1}, settled)
}

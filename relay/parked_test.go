package relay

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func indexOf(limits IndexLimits) *index {
	return newIndex(limits, 0, func(uint64) bool { return false })
}

// fail gives the index a lane each of so many messages, which all fail, and are
// to be tried again a minute apart.
func fail(t *testing.T, x *index, from, n int, now time.Time) {
	t.Helper()
	for i := from; i < from+n; i++ {
		free, _ := x.room()
		require.Positive(t, free, "the reader stops at %d", i)
		x.add([]Entry{{Sequence: uint64(i), Lane: fmt.Sprint("lane ", i), Route: "facts", Accepted: now}})
		e, ok := x.next()
		require.True(t, ok)
		e.Attempts, e.Failures, e.Slow, e.Next = 3, 2, 1, now.Add(time.Duration(i)*time.Minute)
		x.postpone(e)
	}
}

// More lanes than the index has room for are blocked: the reader goes on, what
// can be delivered is, and the index stays within its bound.
func TestBlockedLanesAreParked(t *testing.T) {
	now := time.Unix(1e9, 0)
	x := indexOf(IndexLimits{Entries: 64, Lane: 8, Parked: 1000})
	fail(t, x, 1, 1000, now)
	require.LessOrEqual(t, x.entries, 33, "half of the index, and one under way")
	require.Len(t, x.bulk.parked.lanes, 1000-x.entries)

	x.add([]Entry{{Sequence: 1001, Lane: "another", Accepted: now}})
	e, ok := x.next()
	require.True(t, ok)
	require.EqualValues(t, 1001, e.Sequence)
	x.settle(e)

	for i := 1; i <= 1000; i++ { // each one when it is due, with all that is known of it
		ready, at := x.wakeDue(now.Add(time.Duration(i)*time.Minute - time.Second))
		require.False(t, ready)
		require.Equal(t, now.Add(time.Duration(i)*time.Minute).Unix(), at.Unix())
		ready, _ = x.wakeDue(at)
		require.True(t, ready)
		e, ok := x.next()
		require.True(t, ok)
		require.Equal(t, []any{uint64(i), 3, 2, 1, "facts", fmt.Sprint("lane ", i), now.Unix()},
			[]any{e.Sequence, e.Attempts, e.Failures, e.Slow, e.Route, e.Lane, e.Accepted.Unix()})
		x.settle(e)
	}
	require.Zero(t, x.spilled+x.bulk.extra+x.entries+len(x.bulk.lanes)+len(x.bulk.parked.lanes)+len(x.waits))
}

// What comes later in a parked lane stays behind its head, and is read again from
// the journal once the head is settled.
func TestAParkedLaneIsBlocked(t *testing.T) {
	now := time.Unix(1e9, 0)
	x := indexOf(IndexLimits{Entries: 4, Lane: 2, Parked: 10})
	fail(t, x, 1, 5, now)
	require.Contains(t, x.bulk.parked.lanes, "lane 5")
	x.add([]Entry{{Sequence: 6, Lane: "lane 5", Accepted: now}, {Sequence: 7, Lane: "lane 5", Accepted: now}})
	_, ok := x.next()
	require.False(t, ok, "nothing overtakes the head")
	for range 5 {
		x.wakeDue(now.Add(5 * time.Minute))
		e, ok := x.next()
		require.True(t, ok)
		require.LessOrEqual(t, e.Sequence, uint64(5))
		x.settle(e)
	}
	r, ok := x.nextRefill()
	require.True(t, ok)
	require.Equal(t, refillRequest{"lane 5", false, 6, 7}, r)
	x.refilled(r, []Entry{{Sequence: 6, Lane: "lane 5"}, {Sequence: 7, Lane: "lane 5"}})
	e, ok := x.next()
	require.True(t, ok)
	require.EqualValues(t, 6, e.Sequence)
}

// The backlog behind a head that waits is left in the journal rather than kept.
func TestTheBacklogOfABlockedLaneTakesNoRoom(t *testing.T) {
	now := time.Unix(1e9, 0)
	x := indexOf(IndexLimits{Entries: 100, Lane: 100, Parked: 10})
	fail(t, x, 1, 1, now)
	for i := uint64(2); i <= 500; i++ {
		x.add([]Entry{{Sequence: i, Lane: "lane 1", Accepted: now}})
	}
	free, _ := x.room()
	require.GreaterOrEqual(t, free, 49, "half of the index is free for other lanes")
}

// A parked head that has grown too old is found, whatever its next attempt and
// however many there are.
func TestAParkedHeadGrowsTooOld(t *testing.T) {
	now := time.Unix(1e9, 0)
	x := indexOf(IndexLimits{Entries: 16, Lane: 8, Parked: 100})
	fail(t, x, 1, 50, now)
	fail(t, x, 51, 50, now.Add(time.Hour))
	seen := map[uint64]bool{}
	old := func(e Entry) bool { return !e.Accepted.After(now) }
	for again := true; again; again = x.unparkExpired(old) {
		require.LessOrEqual(t, x.bulk.extra, 8)
		for _, l := range x.expired(old) {
			e, ok := x.takeExpired(l, old)
			require.True(t, ok)
			seen[e.Sequence] = true
			x.settle(e)
		}
	}
	require.Len(t, seen, 50)
	require.NotContains(t, seen, uint64(51))
}

// The bound on what may be parked holds; beyond it lanes keep their room in the
// index, and the reader waits for one of them.
func TestParkingIsBounded(t *testing.T) {
	x := indexOf(IndexLimits{Entries: 8, Lane: 8, Parked: 10})
	fail(t, x, 1, 18, time.Unix(1e9, 0))
	require.Len(t, x.bulk.parked.lanes, 10)
	free, _ := x.room()
	require.Zero(t, free)
}

// What docs/retries.md says of the memory of a parked lane.
func TestAParkedLaneIsSmall(t *testing.T) {
	const n = 50_000
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	now := time.Unix(1e9, 0)
	x := indexOf(IndexLimits{Entries: 16, Lane: 8, Parked: 2 * n})
	fail(t, x, 1, 100, now)
	before := heap()
	fail(t, x, 101, n, now)
	each := (heap() - before) / n
	require.LessOrEqual(t, each, uint64(200), "bytes each")
	require.GreaterOrEqual(t, each, uint64(60), "it was measured")
	runtime.KeepAlive(x)
}

// After an outage the backlogs of many parked lanes are read again, each when its
// head has gone; all together they stay within the bound as well.
func TestTheBacklogsOfParkedLanesStayWithinTheBound(t *testing.T) {
	const lanes, each = 50, 8
	now := time.Unix(1e9, 0)
	limits := IndexLimits{Entries: 64, Lane: 16, Parked: 1000}
	x := indexOf(limits)
	fail(t, x, 1, lanes, now)
	for i := range uint64(lanes * each) {
		free, _ := x.room()
		require.Positive(t, free)
		x.add([]Entry{{Sequence: lanes + 1 + i, Lane: fmt.Sprint("lane ", 1+i%lanes), Accepted: now}})
	}
	now = now.Add(24 * time.Hour)
	settled := 0
	refill := func() {
		for r, ok := x.nextRefill(); ok; r, ok = x.nextRefill() {
			var entries []Entry
			for s := r.from; s <= r.through && len(entries) < limits.Lane; s++ {
				if fmt.Sprint("lane ", 1+(s-lanes-1)%lanes) == r.lane {
					entries = append(entries, Entry{Sequence: s, Lane: r.lane, Accepted: now})
				}
			}
			x.refilled(r, entries)
			require.Less(t, x.entries, limits.Entries*3/2+limits.Lane)
		}
	}
	for x.wakeDue(now); ; x.wakeDue(now) {
		e, ok := x.next()
		if !ok {
			break
		}
		x.settle(e)
		settled++
		select {
		case <-x.refillsC: // as the term waits for it
			refill()
		default:
		}
	}
	require.Equal(t, lanes*(each+1), settled)
	require.Zero(t, x.spilled+x.entries+x.bulk.extra+len(x.bulk.lanes)+len(x.bulk.parked.lanes))
}

package relay

import (
	"container/heap"
	"time"
)

// parked are the lanes that wait for the next attempt of their head and have no
// place in the index: of each there is the head and what is known of it, about
// 150 bytes, and the rest of the lane is in the journal. So any number of hosts
// whose messages fail, up to IndexLimits.Parked, takes no room from the others.
// A parked lane is blocked as any other that waits: what the reader finds of it
// stays behind its head.
type parked struct {
	lanes map[string]*parkedLane // by lane token
	due   parkedHeap
}

// parkedLane is a lane that is parked.
type parkedLane struct {
	token   string
	head    item
	next    int64  // of the head: not before; Unix nanoseconds
	spilled uint64 // the first sequence behind the head; 0: none is known
	place   int    // in the heap

	attempts, failures, slow int32
}

// roomAbove is how many entries a lane that is due may find no room for and have
// all the same: the reader waits for its own, so that it never keeps them out.
func (l IndexLimits) roomAbove() int { return max(1, l.Entries/8) }

// crowded: the index is half full. What waits goes to the parked lanes then, so
// that the other half is always there for what can be delivered.
func (x *index) crowded() bool { return x.entries > x.limits.Entries/2 }

// relieve parks a lane that waits in a crowded index.
func (x *index) relieve(l *lane) {
	if l.due < 0 || !x.crowded() || len(x.parked.lanes) >= x.limits.Parked {
		return
	}
	heap.Remove(&x.due, l.due)
	x.parked.add(l, x.waits[l.items[0].sequence])
	for _, i := range l.items {
		delete(x.waits, i.sequence)
	}
	x.entries -= len(l.items)
	delete(x.lanes, l.token)
	signal(x.roomC)
}

func (p *parked) add(l *lane, w Wait) {
	if p.lanes == nil {
		p.lanes = map[string]*parkedLane{}
	}
	parked := &parkedLane{token: l.token, head: l.items[0], next: w.Next.UnixNano(), spilled: l.spilled,
		attempts: int32(w.Attempts), failures: int32(w.Failures), slow: int32(w.Slow)}
	if len(l.items) > 1 {
		parked.spilled = l.items[1].sequence
	}
	p.lanes[l.token] = parked
	heap.Push(&p.due, parked)
}

// follows notes a message of a parked lane, which stays in the journal; false:
// its lane is not parked.
func (p *parked) follows(e Entry) bool {
	l := p.lanes[e.Lane]
	if l == nil {
		return false
	}
	if l.spilled == 0 {
		l.spilled = e.Sequence
	}
	return true
}

// unpark makes a lane of a parked one again. Its head is a head that waits, due
// or not.
func (x *index) unpark(p *parkedLane) *lane {
	heap.Remove(&x.parked.due, p.place)
	delete(x.parked.lanes, p.token)
	l := &lane{token: p.token, items: []item{p.head}, spilled: p.spilled, due: -1}
	x.lanes[l.token] = l
	x.waits[p.head.sequence] = Wait{Attempts: int(p.attempts), Next: time.Unix(0, p.next), Failures: int(p.failures), Slow: int(p.slow)}
	x.entries++
	return l
}

// parkedDue says whether a parked lane is due at now and there is room for it.
func (x *index) parkedDue(now time.Time) bool {
	return len(x.parked.due) > 0 && x.parked.due[0].next <= now.UnixNano() && x.roomForParked()
}

func (x *index) roomForParked() bool { return x.entries < x.limits.Entries+x.limits.roomAbove() }

// unparkExpired makes lanes of some parked ones whose head is expired; false:
// there are none.
func (x *index) unparkExpired(expired func(Entry) bool) bool {
	some := make([]*parkedLane, 0, x.limits.roomAbove())
	for _, p := range x.parked.lanes {
		if len(some) == cap(some) {
			break
		}
		if expired(Entry{Sequence: p.head.sequence, Lane: p.token, Route: p.head.route, Accepted: time.Unix(0, p.head.accepted)}) {
			some = append(some, p)
		}
	}
	for _, p := range some {
		x.enlist(x.unpark(p))
	}
	return len(some) > 0
}

// parkedHeap orders parked lanes by the time of their next attempt.
type parkedHeap []*parkedLane

func (h parkedHeap) Len() int           { return len(h) }
func (h parkedHeap) Less(i, j int) bool { return h[i].next < h[j].next }
func (h parkedHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}
func (h *parkedHeap) Push(x any) {
	p := x.(*parkedLane) //nolint:forcetypeassert // container/heap passes what Push was given
	p.place = len(*h)
	*h = append(*h, p)
}
func (h *parkedHeap) Pop() any {
	old := *h
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return p
}

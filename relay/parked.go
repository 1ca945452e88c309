package relay

import (
	"container/heap"
	"slices"
	"time"
)

// parked are the lanes of a class that wait for the next attempt of their head and
// have no place in the index: of each there is the head and what is known of it,
// about 170 bytes, and the rest of the lane is in the journal. So any number of
// hosts whose messages fail, up to IndexLimits.Parked, takes no room from the
// others. A parked lane is blocked as any other that waits: what the reader finds
// of it stays behind its head.
type parked struct {
	lanes map[string]*parkedLane // by lane token
	due   parkedHeap
}

// parkedLane is a lane that is parked.
type parkedLane struct {
	token   string
	head    item
	next    int64  // of the head: not before; Unix nanoseconds
	spilled uint64 // as of a lane
	left    uint64 // as of a lane
	place   int    // in the heap

	attempts, failures, slow int32
}

// crowded: the room for a class is half taken. What waits goes to the parked lanes
// then, so that the other half is always there for what can be delivered.
func (x *index) crowded(c *class) bool {
	return x.entries > x.limits.Entries/2 || c.extra > c.beside/2
}

// relieve parks a lane that waits in a crowded index.
func (x *index) relieve(l *lane) {
	c := l.class
	if l.due < 0 || l.untried || !x.crowded(c) || len(c.parked.lanes) >= x.limits.Parked || !x.parkable(l) {
		return
	}
	c.delist(l)
	p := &parkedLane{token: l.token, head: l.items[0], next: l.next, spilled: l.spilled, left: l.left}
	if len(l.items) > 1 {
		x.spill(&p.spilled, l.items[1].sequence)
	}
	p.know(x.waits[p.head.sequence])
	delete(x.waits, p.head.sequence) // its mark stays
	for _, i := range l.items[1:] {
		delete(x.marks, i.sequence)
	}
	x.entries -= len(l.items)
	if p.head.extra {
		x.entries, c.extra = x.entries+1, c.extra-1
	}
	delete(c.lanes, l.token)
	c.parked.add(p)
	signal(x.readyC) // there may be something due that had no room beside the others
	x.freed()
}

// parkable: what the lane holds behind its head the journal gives back. It would
// not what was scheduled, or taken ahead, or what is known of earlier attempts.
func (x *index) parkable(l *lane) bool {
	if _, leaving := x.leaving[l.items[0].sequence]; leaving || l.refilling {
		return false
	}
	return !slices.ContainsFunc(l.items[1:], func(i item) bool {
		_, tried := x.waits[i.sequence]
		_, leaving := x.leaving[i.sequence]
		return i.extra || tried || leaving
	})
}

// know keeps what is known of the head.
func (p *parkedLane) know(w Wait) {
	p.attempts, p.failures, p.slow = int32(w.Attempts), int32(w.Failures), int32(w.Slow)
}

func (p *parked) add(l *parkedLane) {
	if p.lanes == nil {
		p.lanes = map[string]*parkedLane{}
	}
	p.lanes[l.token] = l
	heap.Push(&p.due, l)
}

// spill notes the first message of a lane that is left in the journal.
func (x *index) spill(first *uint64, sequence uint64) {
	if *first == 0 {
		x.spilled++
	}
	if *first == 0 || sequence < *first {
		*first = sequence
	}
}

// follows notes a message of a parked lane, which stays in the journal; false:
// its lane is not parked.
func (x *index) follows(c *class, e Entry) bool {
	p := c.parked.lanes[e.Lane]
	if p == nil {
		return false
	}
	x.spill(&p.spilled, e.Sequence)
	return true
}

// unpark makes a lane of a parked one again, beside what was read ahead. Its head
// is a head that waits, due or not.
func (x *index) unpark(c *class, p *parkedLane) *lane {
	heap.Remove(&c.parked.due, p.place)
	delete(c.parked.lanes, p.token)
	p.head.extra = true
	c.extra++
	l := &lane{token: p.token, class: c, items: []item{p.head}, spilled: p.spilled, left: p.left, due: -1}
	c.lanes[l.token] = l
	x.waits[p.head.sequence] = Wait{Attempts: int(p.attempts), Next: time.Unix(0, p.next), Failures: int(p.failures), Slow: int(p.slow)}
	return l
}

// parkedDue says whether a parked lane is due at now and there is room for it.
func (c *class) parkedDue(now time.Time) bool {
	return len(c.parked.due) > 0 && c.parked.due[0].next <= now.UnixNano() && c.extra < c.beside
}

// unparkExpired makes lanes of parked ones whose head is expired, as far as there
// is room; false: there are none, or there is none.
func (x *index) unparkExpired(is func(Entry) bool) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	found := false
	for _, c := range []*class{&x.urgent, &x.bulk} {
		for _, p := range c.parked.lanes {
			if c.extra >= c.beside {
				break
			}
			if is(x.entry(&lane{token: p.token, class: c}, p.head)) {
				x.enlist(x.unpark(c, p))
				found = true
			}
		}
	}
	return found
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

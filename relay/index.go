package relay

import (
	"container/heap"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// IndexLimits bound what a drain remembers of a queue, in messages.
type IndexLimits struct {
	Entries int // of all lanes
	Lane    int // of one lane; the rest of it stays in the journal
	Parked  int // lanes that wait for the next attempt of their head, beyond half of Entries
}

// DefaultIndexLimits: about 10 MB a queue (40 with as many lanes), and no lane
// takes more than a small part of it. Reading the rest of a lane from the journal
// is a search through all of it, so a share is large. As many lanes may be parked
// besides, in another 40 MB at the most.
func DefaultIndexLimits() IndexLimits {
	return IndexLimits{Entries: 1 << 18, Lane: 1 << 14, Parked: 1 << 18}
}

// index holds the next messages of a queue by lane. The reader adds what it has
// read ahead, the dispatcher takes heads of lanes, attempts give them back or
// settle them. A lane with more than its share is spilled: the rest is read
// again from the journal when its turn comes, so that the backlog of one host
// never fills the index for the others.
type index struct {
	mu       sync.Mutex
	limits   IndexLimits
	skip     func(sequence uint64) bool // settled before this term began
	lanes    map[string]*lane
	waits    map[uint64]Wait // by sequence: heads whose last attempt failed
	ready    []*lane         // first in, first out
	due      dueHeap
	refills  []*lane
	entries  int
	busy     map[uint64]struct{} // sequences that are being attempted
	cursor   uint64              // everything up to here has been read
	readyC   chan struct{}
	roomC    chan struct{}
	refillsC chan struct{}

	parked     parked
	budget     *Budget // of retries; nil: no bound
	again      []*lane // at most one: the retry that comes next, before ready
	sinceRetry int     // first attempts since
}

func newIndex(limits IndexLimits, cursor uint64, skip func(uint64) bool) *index {
	return &index{limits: limits, skip: skip, cursor: cursor, lanes: map[string]*lane{}, waits: map[uint64]Wait{}, busy: map[uint64]struct{}{},
		readyC: make(chan struct{}, 1), roomC: make(chan struct{}, 1), refillsC: make(chan struct{}, 1)}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// add takes what the reader has read, in journal order. What was read before is
// ignored.
func (x *index) add(entries []Entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range entries {
		if e.Sequence <= x.cursor {
			continue
		}
		x.cursor = e.Sequence
		if x.skip(e.Sequence) {
			continue
		}
		if x.parked.follows(e) {
			continue
		}
		l := x.lane(e.Lane)
		switch {
		case l.spilled != 0: // behind what was left in the journal
		case len(l.items) >= x.limits.Lane, l.due >= 0 && x.crowded():
			l.spilled = e.Sequence
		default:
			x.append(l, e)
			x.relieve(l)
		}
	}
}

func (x *index) lane(token string) *lane {
	l := x.lanes[token]
	if l == nil {
		l = &lane{token: strings.Clone(token), due: -1} // it may be a part of a longer text
		x.lanes[l.token] = l
	}
	return l
}

func (x *index) append(l *lane, e Entry) {
	l.items = append(l.items, item{sequence: e.Sequence, accepted: e.Accepted.UnixNano(), route: e.Route})
	x.entries++
	x.remember(e)
	if len(l.items) == 1 {
		x.enlist(l)
	}
}

// remember keeps what is known of a message that was tried before.
func (x *index) remember(e Entry) {
	if e.Attempts > 0 || !e.Next.IsZero() {
		x.waits[e.Sequence] = waitFor(e)
	}
}

// head is the first message of a lane as far as the index knows it.
func (x *index) head(l *lane) Entry {
	i := l.items[0]
	return x.waits[i.sequence].recalled(Entry{Sequence: i.sequence, Lane: l.token, Route: i.route, Accepted: time.Unix(0, i.accepted)})
}

// enlist puts a lane where its head belongs: the ready list, or the heap until
// it is due.
func (x *index) enlist(l *lane) {
	if l.busy || l.listed || l.due >= 0 || len(l.items) == 0 {
		return
	}
	if l.next = x.waits[l.items[0].sequence].Next; !l.next.IsZero() {
		heap.Push(&x.due, l)
	} else {
		x.ready = append(x.ready, l)
		l.listed = true
	}
	signal(x.readyC)
}

// next takes the head of the first ready lane; the lane is busy until settle,
// postpone or putBack.
func (x *index) next() (Entry, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if l := x.takeAgain(); l != nil {
		return x.take(l), true
	}
	if len(x.ready) == 0 {
		return Entry{}, false
	}
	l := x.ready[0]
	x.ready[0] = nil
	x.ready = x.ready[1:]
	l.listed = false
	return x.take(l), true
}

func (x *index) take(l *lane) Entry {
	l.busy = true
	e := x.head(l)
	x.busy[e.Sequence] = struct{}{}
	return e
}

// settle forgets the head of a busy lane.
func (x *index) settle(e Entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	l := x.release(e)
	l.pop()
	delete(x.waits, e.Sequence)
	x.entries--
	signal(x.roomC)
	if len(x.parked.due) > 0 { // one that is due may have waited for the room
		signal(x.readyC)
	}
	x.enlist(l)
	x.wantRefill(l)
	if l.idle() {
		delete(x.lanes, l.token)
	}
}

// postpone keeps the head of a busy lane until e.Next; the lane waits with it.
func (x *index) postpone(e Entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	l := x.release(e)
	x.remember(e)
	x.enlist(l)
	x.relieve(l)
}

// putBack undoes next: the lane is the first to be taken again.
func (x *index) putBack(e Entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	l := x.release(e)
	x.ready = append([]*lane{l}, x.ready...)
	l.listed = true
	signal(x.readyC)
}

func (x *index) release(e Entry) *lane {
	l := x.lanes[e.Lane]
	l.busy = false
	delete(x.busy, e.Sequence)
	return l
}

// wantRefill asks for the rest of a lane that has run dry.
func (x *index) wantRefill(l *lane) {
	if len(l.items) > 0 || l.spilled == 0 || l.refilling {
		return
	}
	l.refilling = true
	x.refills = append(x.refills, l)
	signal(x.refillsC)
}

// refillRequest is a lane to be read again: from, and through, its sequences.
type refillRequest struct {
	lane          string
	from, through uint64
}

func (x *index) nextRefill() (refillRequest, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.refills) == 0 {
		return refillRequest{}, false
	}
	l := x.refills[0]
	x.refills = x.refills[1:]
	return refillRequest{l.token, l.spilled, x.cursor}, true
}

// refilled takes the answer to a refill. When it is shorter than the lane's
// share, the journal holds no more of the lane up to r.through; what the reader
// passed over meanwhile is asked for again.
func (x *index) refilled(r refillRequest, entries []Entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	l := x.lanes[r.lane]
	l.refilling = false
	l.spilled = r.through + 1
	if len(entries) >= x.limits.Lane {
		l.spilled = entries[len(entries)-1].Sequence + 1
	}
	if l.spilled > x.cursor {
		l.spilled = 0
	}
	for _, e := range entries {
		if !x.skip(e.Sequence) {
			x.append(l, e)
		}
	}
	x.wantRefill(l)
	if l.idle() {
		delete(x.lanes, l.token)
	}
	x.relieve(l)
}

// refillFailed asks again.
func (x *index) refillFailed(r refillRequest) {
	x.mu.Lock()
	defer x.mu.Unlock()
	l := x.lanes[r.lane]
	l.refilling = false
	x.wantRefill(l)
}

// takeExpired takes the head of any lane that is expired, however long it has to
// wait.
func (x *index) takeExpired(expired func(Entry) bool) (Entry, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.takeExpiredLocked(expired)
}

func (x *index) takeExpiredLocked(expired func(Entry) bool) (Entry, bool) {
	for _, l := range x.lanes {
		if l.busy || len(l.items) == 0 || !expired(x.head(l)) {
			continue
		}
		if l.due >= 0 {
			heap.Remove(&x.due, l.due)
		}
		if l.listed {
			x.unlist(l)
		}
		return x.take(l), true
	}
	if x.unparkExpired(expired) {
		return x.takeExpiredLocked(expired)
	}
	return Entry{}, false
}

func (x *index) unlist(l *lane) {
	for i := range x.ready {
		if x.ready[i] == l {
			x.ready = slices.Delete(x.ready, i, i+1)
			break
		}
	}
	x.again = slices.DeleteFunc(x.again, func(other *lane) bool { return other == l })
	l.listed = false
}

// room is how many entries may be read ahead, and whether there are any now.
func (x *index) room() (free int, empty bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.limits.Entries - x.entries, x.entries == 0
}

func (x *index) underway() []uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Collect(maps.Keys(x.busy))
}

func (x *index) position() uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.cursor
}

package relay

import (
	"container/heap"
	"strings"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
)

// IndexLimits bound what a drain remembers of a queue, in messages.
type IndexLimits struct {
	Entries int // of all lanes; half as many more, and a lane's share, where lanes are read again, and each class half as many beside it: scheduled, due, or taken ahead
	Lane    int // of one lane; the rest of it stays in the journal
	Parked  int // lanes of a class that wait for the next attempt of their head, beyond half of Entries
}

// DefaultIndexLimits: about 10 MB a queue (40 with as many lanes, and 30 more if
// all are of latest routes), and no lane
// takes more than a small part of it. Reading the rest of a lane from the journal
// is a search through all of it, so a share is large. As many lanes may be parked
// besides, in another 40 MB at the most.
func DefaultIndexLimits() IndexLimits {
	return IndexLimits{Entries: 1 << 18, Lane: 1 << 14, Parked: 1 << 18}
}

// index holds the next messages of a queue by class and lane. The reader adds
// what it has read ahead, the dispatcher takes heads of lanes, attempts give them
// back or settle them. A lane with more than its share is spilled: the rest is
// read again from the journal when its turn comes, so that the backlog of one
// host never fills the index for the others. What is not due yet waits beside the
// lanes (schedule), and urgent messages may be taken ahead of the reader (tell).
type index struct {
	mu       sync.Mutex
	limits   IndexLimits
	skip     func(sequence uint64) bool // settled before this term began
	bulk     class
	urgent   class
	inARow   int             // attempts for urgent messages since the last one of bulk
	waits    map[uint64]Wait // by sequence: heads whose last attempt failed
	marks    map[uint64]mark // by sequence: those of latest routes
	refills  []*lane
	entries  int                 // that were read ahead
	busy     map[uint64]struct{} // sequences that are being attempted
	leaving  map[uint64]struct{} // sequences that are being recorded as superseded
	cursor   uint64              // everything up to here has been read
	routes   []string            // the names of all that was seen
	routeIDs map[string]uint32
	taken    *roaring64.Bitmap // sequences that the index has or had from ahead of the cursor
	spilled  int               // lanes that are
	// withdrawn are the superseded messages, as far as they may be read again:
	// two bytes at most for each since the index was empty last.
	withdrawn *roaring64.Bitmap

	told        []uint64 // urgent messages to be read ahead of the cursor
	toldThrough uint64   // the edge's number of the last one that was told

	readyC   chan struct{}
	roomC    chan struct{}
	refillsC chan struct{}
	toldC    chan struct{}

	budget *Budget // of retries; nil: no bound
}

func newIndex(limits IndexLimits, cursor uint64, skip func(uint64) bool) *index {
	beside := max(1, limits.Entries/2)
	return &index{limits: limits, skip: skip, cursor: cursor, bulk: newClass(false, beside), urgent: newClass(true, beside),
		waits: map[uint64]Wait{}, marks: map[uint64]mark{}, busy: map[uint64]struct{}{}, leaving: map[uint64]struct{}{}, routeIDs: map[string]uint32{}, taken: roaring64.New(), withdrawn: roaring64.New(),
		readyC: make(chan struct{}, 1), roomC: make(chan struct{}, 1), refillsC: make(chan struct{}, 1), toldC: make(chan struct{}, 1)}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// add takes what the reader has read, in journal order. What was read before, or
// taken ahead, is ignored.
func (x *index) add(entries []Entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range entries {
		if e.Sequence <= x.cursor {
			continue
		}
		x.cursor = e.Sequence
		if !x.skip(e.Sequence) && !x.taken.Contains(e.Sequence) {
			x.admit(e)
		}
	}
	if x.spilled == 0 && !x.taken.IsEmpty() {
		x.taken.RemoveRange(0, x.cursor+1) // nothing of it is read again
	}
	if x.spilled == 0 && x.entries+x.bulk.extra+x.urgent.extra == 0 {
		x.withdrawn.Clear() // nor of this: no lane is left that could be parked with it behind its head
	}
}

// admit finds the place of what the reader has read.
func (x *index) admit(e Entry) {
	c := x.class(e.Urgent)
	if !e.NotBefore.IsZero() {
		x.appoint(c, e)
		return
	}
	if x.follows(c, e) {
		return
	}
	l := x.lane(c, e.Lane)
	switch {
	case l.spilled != 0: // behind what was left in the journal
	case len(l.items) >= x.limits.Lane, l.due >= 0 && x.crowded(c):
		l.spilled = e.Sequence
		x.spilled++
	default:
		x.append(l, e)
		x.relieve(l)
	}
}

func (x *index) class(urgent bool) *class {
	if urgent {
		return &x.urgent
	}
	return &x.bulk
}

func (x *index) lane(c *class, token string) *lane {
	l := c.lanes[token]
	if l == nil {
		l = &lane{token: strings.Clone(token), class: c, due: -1} // it may be a part of a longer text
		c.lanes[l.token] = l
	}
	return l
}

// forget drops a lane that holds nothing and has nothing to remember.
func (x *index) forget(l *lane) {
	if len(l.items) == 0 && l.spilled == 0 && !l.busy && l.left <= x.cursor {
		delete(l.class.lanes, l.token)
	}
}

// append puts a message into its lane, within the room for reading ahead.
func (x *index) append(l *lane, e Entry) {
	x.entries++
	x.remember(e)
	x.put(l, x.item(e))
}

// put puts an item in its place, and the lane where its head belongs.
func (x *index) put(l *lane, i item) {
	if l.insert(i) > 0 {
		return
	}
	l.class.delist(l)
	x.enlist(l)
}

func (x *index) item(e Entry) item {
	return item{sequence: e.Sequence, since: nano(later(e.Accepted, e.NotBefore)), expires: nano(e.Expires), route: x.route(e.Route)}
}

func (x *index) route(name string) uint32 {
	id, known := x.routeIDs[name]
	if !known {
		id = uint32(len(x.routes))
		x.routes = append(x.routes, name)
		x.routeIDs[name] = id
	}
	return id
}

// remember keeps what is known of a message that was tried before, and of one
// that a newer one may replace.
func (x *index) remember(e Entry) {
	if e.Latest {
		x.marks[e.Sequence] = mark{kind: e.Kind, id: e.ID, keyed: e.Keyed}
	}
	if e.Attempts > 0 || !e.Next.IsZero() {
		x.waits[e.Sequence] = waitFor(e)
	}
}

// head is the first message of a lane as far as the index knows it.
func (x *index) head(l *lane) Entry { return x.entry(l, l.items[0]) }

// entry is a message of a lane as far as the index knows it.
func (x *index) entry(l *lane, i item) Entry {
	m, latest := x.marks[i.sequence]
	return x.waits[i.sequence].recalled(Entry{Sequence: i.sequence, Lane: l.token, Urgent: l.class.urgent, Route: x.routes[i.route], Accepted: time.Unix(0, i.since),
		Expires: timeOf(i.expires), ID: m.id, Keyed: m.keyed, Latest: latest, Kind: m.kind})
}

// gone drops what was kept of a message that left its lane.
func (x *index) gone(l *lane, i item) {
	delete(x.waits, i.sequence)
	delete(x.marks, i.sequence)
	if i.extra {
		l.class.extra--
		signal(x.readyC) // there may be something due that had no room
	} else {
		x.entries--
	}
	x.freed()
}

// freed tells those who wait for room.
func (x *index) freed() {
	signal(x.roomC)
	if len(x.refills) > 0 {
		signal(x.refillsC)
	}
}

// enlist puts a lane where its head belongs: the ready list, or the heap until
// it is due.
func (x *index) enlist(l *lane) {
	if l.busy || l.listed || l.due >= 0 || len(l.items) == 0 {
		return
	}
	if w := x.waits[l.items[0].sequence]; w.Next.IsZero() {
		l.class.ready.pushBack(l)
	} else {
		l.next, l.untried = w.Next.UnixNano(), w.Attempts == 0
		heap.Push(l.class.waiting(l), l)
	}
	signal(x.readyC)
}

// wakeDue moves what is due to its lane, and the lanes that are due for a retry to
// the ready list when it is their turn. It returns whether any lane is ready, and else when the next one will be
// (zero: unknown).
func (x *index) wakeDue(now time.Time) (bool, time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	var next int64
	for _, c := range []*class{&x.urgent, &x.bulk} {
		x.wake(c, now)
		x.meet(c, now.UnixNano())
		if at := x.dueAt(c, now); at != 0 && (next == 0 || at < next) {
			next = at
		}
	}
	return x.urgent.ready.first != nil || x.bulk.ready.first != nil, timeOf(next)
}

// next takes the head of the first ready lane of the class whose turn it is; the
// lane is busy until settle, postpone or putBack.
func (x *index) next() (Entry, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	c := x.turn()
	if c == nil {
		return Entry{}, false
	}
	l := c.ready.first
	c.ready.remove(l)
	c.sinceRetry++
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
	x.gone(l, l.items[0])
	l.pop()
	x.enlist(l)
	x.wantRefill(l)
	x.forget(l)
}

// postpone keeps the head of a busy lane until e.Next; the lane waits with it.
func (x *index) postpone(e Entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	l := x.release(e)
	x.remember(e)
	l.sortHead()
	x.enlist(l)
	x.relieve(l)
}

// putBack undoes next: the lane is the first of its class to be taken again.
func (x *index) putBack(e Entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	l := x.release(e)
	l.sortHead()
	l.class.ready.pushFront(l)
	signal(x.readyC)
}

func (x *index) release(e Entry) *lane {
	l := x.class(e.Urgent).lanes[e.Lane]
	l.busy = false
	delete(x.busy, e.Sequence)
	return l
}

// expired are the lanes whose head is expired, found by one look at each.
func (x *index) expired(is func(Entry) bool) []*lane {
	x.mu.Lock()
	defer x.mu.Unlock()
	var found []*lane
	for _, c := range []*class{&x.urgent, &x.bulk} {
		for _, l := range c.lanes {
			if !l.busy && len(l.items) > 0 && is(x.head(l)) {
				found = append(found, l)
			}
		}
	}
	return found
}

// takeExpired takes the head of a lane if it is expired, however long it has to
// wait.
func (x *index) takeExpired(l *lane, is func(Entry) bool) (Entry, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if l.busy || len(l.items) == 0 || !is(x.head(l)) {
		return Entry{}, false
	}
	l.class.delist(l)
	return x.take(l), true
}

// room is how many entries may be read ahead, and whether there is anything now.
func (x *index) room() (free int, empty bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.limits.Entries - x.entries, x.entries+x.bulk.extra+x.urgent.extra == 0
}

func (x *index) position() uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.cursor
}

// nano is a time as the index keeps it; 0 for none, and for what lies so far
// ahead that it makes no difference and is no number of nanoseconds.
func nano(t time.Time) int64 {
	const farAhead = 7_258_118_400 // the year 2200, in Unix seconds
	if t.IsZero() || t.Unix() > farAhead {
		return 0
	}
	return t.UnixNano()
}

func timeOf(nano int64) time.Time {
	if nano == 0 {
		return time.Time{}
	}
	return time.Unix(0, nano)
}

package relay

import (
	"cmp"
	"container/heap"
	"slices"
)

// lane is the messages of one ordering key and one class that the index holds,
// by sequence. Only its head is ever attempted.
type lane struct {
	token  string
	class  *class
	items  []item
	next   int64 // of the head: not before, Unix nanoseconds
	busy   bool  // the head is being attempted
	listed bool  // in the class's ready list
	due    int   // place in the heap of waiting lanes, -1: none

	untried bool // the head waits, and was not attempted yet

	before, after *lane // in the ready list

	// spilled is the first sequence of this lane that was left in the journal
	// because the lane had its share of the index; 0: nothing was left.
	spilled   uint64
	refilling bool
	// left is the last sequence that was told of and left to the reader: nothing
	// is taken ahead of it.
	left uint64
}

// item is all that is kept of a message that waits for its turn, 32 bytes: the
// rest comes with its body, when it is attempted.
type item struct {
	sequence uint64
	since    int64  // its age counts from here; Unix nanoseconds
	expires  int64  // the time it was given, Unix nanoseconds; 0: none
	route    uint32 // place in the index's routes
	extra    bool   // beside the room for reading ahead
}

func (l *lane) pop() {
	if l.items = l.items[1:]; len(l.items) == 0 {
		l.items = nil // or the array behind it would stay
	}
}

// insert puts an item in its place by sequence, but never before a head that is
// being attempted. It returns the place.
func (l *lane) insert(i item) int {
	n := len(l.items)
	if n == 0 || l.items[n-1].sequence < i.sequence {
		l.items = append(l.items, i)
		return n
	}
	from := 0
	if l.busy {
		from = 1
	}
	at, _ := slices.BinarySearchFunc(l.items[from:], i.sequence, bySequence)
	l.items = slices.Insert(l.items, from+at, i)
	return from + at
}

// sortHead lets what came before the head, while that was being attempted, go
// before it.
func (l *lane) sortHead() {
	if len(l.items) < 2 || l.items[0].sequence < l.items[1].sequence {
		return
	}
	head := l.items[0]
	at, _ := slices.BinarySearchFunc(l.items[1:], head.sequence, bySequence)
	copy(l.items, l.items[1:at+1])
	l.items[at] = head
}

func bySequence(i item, sequence uint64) int { return cmp.Compare(i.sequence, sequence) }

// readyList is the lanes whose head may be attempted now, first in, first out.
type readyList struct{ first, last *lane }

func (r *readyList) pushBack(l *lane) {
	l.listed, l.before, l.after = true, r.last, nil
	if r.last == nil {
		r.first = l
	} else {
		r.last.after = l
	}
	r.last = l
}

func (r *readyList) pushFront(l *lane) {
	l.listed, l.before, l.after = true, nil, r.first
	if r.first == nil {
		r.last = l
	} else {
		r.first.before = l
	}
	r.first = l
}

func (r *readyList) remove(l *lane) {
	if l.before == nil {
		r.first = l.after
	} else {
		l.before.after = l.after
	}
	if l.after == nil {
		r.last = l.before
	} else {
		l.after.before = l.before
	}
	l.listed, l.before, l.after = false, nil, nil
}

// dueHeap orders the lanes whose head waits by the time of its next attempt.
type dueHeap []*lane

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].next < h[j].next }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].due, h[j].due = i, j
}
func (h *dueHeap) Push(x any) {
	l := x.(*lane) //nolint:forcetypeassert // container/heap passes what Push was given
	l.due = len(*h)
	*h = append(*h, l)
}
func (h *dueHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	l.due = -1
	return l
}

// popDue takes the first lane whose head may be tried at now.
func (h *dueHeap) popDue(now int64) *lane {
	if len(*h) == 0 || (*h)[0].next > now {
		return nil
	}
	return heap.Pop(h).(*lane) //nolint:forcetypeassert // only lanes are pushed
}

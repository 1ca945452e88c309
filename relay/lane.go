package relay

import (
	"container/heap"
	"time"
)

// lane is the messages of one ordering key that the index holds. Only its head
// is ever attempted.
type lane struct {
	token  string
	items  []item
	next   time.Time // of the head: not before
	busy   bool      // the head is being attempted
	listed bool      // in the index's ready list
	due    int       // place in the heap of waiting lanes, -1: none

	// spilled is the first sequence of this lane that was left in the journal
	// because the lane had its share of the index; 0: nothing was left.
	spilled   uint64
	refilling bool
}

// item is all that is kept of a message that waits for its turn, 32 bytes: the
// rest comes with its body, when it is attempted.
type item struct {
	sequence uint64
	accepted int64  // Unix nanoseconds
	route    string // shared with all of its kind
}

// idle lanes are forgotten.
func (l *lane) idle() bool { return len(l.items) == 0 && l.spilled == 0 && !l.busy }

func (l *lane) pop() {
	if l.items = l.items[1:]; len(l.items) == 0 {
		l.items = nil // or the array behind it would stay
	}
}

// dueHeap orders the lanes whose head waits by the time of its next attempt.
type dueHeap []*lane

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].next.Before(h[j].next) }
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
func (h *dueHeap) popDue(now time.Time) *lane {
	if len(*h) == 0 || (*h)[0].next.After(now) {
		return nil
	}
	return heap.Pop(h).(*lane) //nolint:forcetypeassert // only lanes are pushed
}

package relay

import (
	"container/heap"
	"time"
)

// lane is the messages of one ordering key that the index holds. Only its head
// is ever attempted.
type lane struct {
	token   string
	entries []Entry
	busy    bool // the head is being attempted
	listed  bool // in the index's ready list
	due     int  // place in the heap of waiting lanes, -1: none

	// spilled is the first sequence of this lane that was left in the journal
	// because the lane had its share of the index; 0: nothing was left.
	spilled   uint64
	refilling bool
}

func (l *lane) head() *Entry { return &l.entries[0] }

// idle lanes are forgotten.
func (l *lane) idle() bool { return len(l.entries) == 0 && l.spilled == 0 && !l.busy }

func (l *lane) pop() {
	l.entries[0] = Entry{}
	l.entries = l.entries[1:]
}

// dueHeap orders the lanes whose head waits by the time of its next attempt.
type dueHeap []*lane

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].head().Next.Before(h[j].head().Next) }
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
	if len(*h) == 0 || (*h)[0].head().Next.After(now) {
		return nil
	}
	return heap.Pop(h).(*lane) //nolint:forcetypeassert // only lanes are pushed
}

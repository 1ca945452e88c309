package relay

import (
	"container/heap"
	"maps"
	"slices"
)

// mark is what the index keeps besides of a message of a latest route: what it
// needs to settle it without reading it.
type mark struct {
	kind  string
	id    string
	keyed bool
}

// place is that of an entry of a latest route.
func (e Entry) place() Place { return Place{Lane: e.Lane, Route: e.Route, Kind: e.Kind} }

// latest is how many messages of latest routes the index holds.
func (x *index) latest() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.marks)
}

// withdraw takes the messages out of their lane that a newer one has replaced,
// wherever they are in it and however long they would wait. One that is being
// attempted stays.
func (x *index) withdraw(n Newest) []Entry {
	x.mu.Lock()
	defer x.mu.Unlock()
	l := x.lanes[n.Lane]
	if l == nil {
		return nil
	}
	var gone []Entry
	kept := slices.DeleteFunc(l.items, func(i item) bool {
		if !x.replacedBy(i, n) {
			return false
		}
		gone = append(gone, x.entry(l, i))
		return true
	})
	if len(gone) == 0 {
		return nil
	}
	if l.items = kept; len(kept) == 0 {
		l.items = nil
	}
	for _, e := range gone {
		x.forget(e.Sequence)
	}
	x.headChanged(l)
	return gone
}

// leave notes what is being recorded as superseded, until done is called.
func (x *index) leave(all []replacement) (done func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, r := range all {
		x.leaving[r.old.Sequence] = struct{}{}
	}
	return func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		clear(x.leaving)
	}
}

// left are the sequences that are being recorded as superseded.
func (x *index) left() []uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Collect(maps.Keys(x.leaving))
}

func (x *index) replacedBy(i item, n Newest) bool {
	if i.sequence >= n.Sequence || i.route != n.Route {
		return false
	}
	m, marked := x.marks[i.sequence]
	_, busy := x.busy[i.sequence]
	return marked && !busy && m.kind == n.Kind
}

// headChanged puts a lane where its head belongs now. A lane in the ready list
// stays there, an empty one too: next passes it over. Looking for it would cost
// more than that.
func (x *index) headChanged(l *lane) {
	if l.due >= 0 {
		heap.Remove(&x.due, l.due)
	}
	if l.listed && len(l.items) > 0 && !x.waits[l.items[0].sequence].Next.IsZero() {
		x.unlist(l)
	}
	x.enlist(l)
	signal(x.roomC)
	x.wantRefill(l)
	if l.idle() {
		delete(x.lanes, l.token)
	}
}

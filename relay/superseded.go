package relay

import (
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

// withdraw takes the messages out of their lanes, of both classes, that a newer
// one has replaced, wherever they are in them and however long they would wait.
// One that is being attempted stays.
func (x *index) withdraw(n Newest) []Entry {
	x.mu.Lock()
	defer x.mu.Unlock()
	route, known := x.routeIDs[n.Route]
	if !known {
		return nil
	}
	var gone []Entry
	for _, c := range []*class{&x.urgent, &x.bulk} {
		if l := c.lanes[n.Lane]; l != nil {
			gone = append(gone, x.withdrawFrom(l, n, route)...)
		}
	}
	return gone
}

func (x *index) withdrawFrom(l *lane, n Newest, route uint32) []Entry {
	var gone []Entry
	kept := slices.DeleteFunc(l.items, func(i item) bool {
		if i.route != route || !x.replacedBy(i, n) {
			return false
		}
		gone = append(gone, x.entry(l, i))
		x.withdrawn.Add(i.sequence) // where its lane is parked, the journal is read again from behind the head
		x.gone(l, i)
		return true
	})
	if len(gone) == 0 {
		return nil
	}
	if l.items = kept; len(kept) == 0 {
		l.items = nil
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
	m, marked := x.marks[i.sequence]
	_, busy := x.busy[i.sequence]
	return marked && !busy && i.sequence < n.Sequence && m.kind == n.Kind
}

// headChanged puts a lane where its head belongs now. One whose head is being
// attempted is where it belongs.
func (x *index) headChanged(l *lane) {
	if !l.busy {
		l.class.delist(l)
		x.enlist(l)
	}
	x.wantRefill(l)
	x.forget(l)
}

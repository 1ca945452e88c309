package relay

import (
	"maps"
	"slices"
)

// MaxTold is how many urgent messages an edge tells a drain of in one answer.
const MaxTold = 1000

// tell takes word of urgent messages, pending and perhaps far ahead of the
// reader: all that the edge knows with a number above after, up to through. It is
// ignored when it answers what another index has asked.
func (x *index) tell(after, through uint64, sequences []uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if after != x.toldThrough {
		return
	}
	x.toldThrough = through
	x.told = append(x.told, sequences...)
	signal(x.toldC)
}

// status is what the edge is told of this index.
func (x *index) status() DrainStatus {
	x.mu.Lock()
	defer x.mu.Unlock()
	return DrainStatus{Delivering: len(x.busy), Underway: slices.Collect(maps.Keys(x.busy)), Cursor: x.cursor,
		UrgentThrough: x.toldThrough, UrgentRoom: max(0, min(MaxTold, x.urgent.beside-x.urgent.extra-len(x.told)))}
}

// nextTold is the next message to be read ahead of the cursor.
func (x *index) nextTold() (uint64, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for len(x.told) > 0 {
		sequence := x.told[0]
		x.told = x.told[1:]
		if x.ahead(sequence) {
			return sequence, true
		}
	}
	x.told = nil
	return 0, false
}

// ahead says whether the index would not have the message before the reader
// comes to it.
func (x *index) ahead(sequence uint64) bool {
	return sequence > x.cursor && !x.skip(sequence) && !x.taken.Contains(sequence)
}

func (x *index) isAhead(sequence uint64) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.ahead(sequence)
}

// takeAhead takes an urgent message ahead of the reader, which will pass over it.
// Where its lane has its share, or there is no room, the message is left to the reader, and what comes
// behind it in the lane too.
func (x *index) takeAhead(e Entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.ahead(e.Sequence) || !e.Urgent {
		return
	}
	c := &x.urgent
	if !e.NotBefore.IsZero() {
		if x.appoint(c, e) {
			x.taken.Add(e.Sequence)
		}
		return
	}
	if p := c.parked.lanes[e.Lane]; p != nil {
		p.left = max(p.left, e.Sequence)
		return
	}
	l := x.lane(c, e.Lane)
	if l.left > x.cursor || l.spilled != 0 || len(l.items) >= x.limits.Lane || c.extra >= c.beside {
		l.left = max(l.left, e.Sequence)
		return
	}
	x.taken.Add(e.Sequence)
	x.remember(e)
	i := x.item(e)
	i.extra = true
	c.extra++
	x.put(l, i)
}

package relay

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
	urgent        bool
	from, through uint64
}

// nextRefill takes up a lane to be read again, while there is room for its share.
// The reader leaves half as much as it may have to these.
func (x *index) nextRefill() (refillRequest, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.refills) == 0 || x.entries >= x.limits.Entries+max(1, x.limits.Entries/2) {
		return refillRequest{}, false
	}
	l := x.refills[0]
	x.refills = x.refills[1:]
	return refillRequest{l.token, l.class.urgent, l.spilled, x.cursor}, true
}

// refilled takes the answer to a refill. When it is shorter than the lane's
// share, the journal holds no more of the lane up to r.through; what the reader
// passed over meanwhile is asked for again.
func (x *index) refilled(r refillRequest, entries []Entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	c := x.class(r.urgent)
	l := c.lanes[r.lane]
	l.refilling = false
	l.spilled = r.through + 1
	if len(entries) >= x.limits.Lane {
		l.spilled = entries[len(entries)-1].Sequence + 1
	}
	if l.spilled > x.cursor {
		l.spilled = 0
		x.spilled--
	}
	for _, e := range entries { // what is scheduled was never left to its lane
		if e.NotBefore.IsZero() && !x.skip(e.Sequence) && !x.taken.Contains(e.Sequence) && !x.withdrawn.Contains(e.Sequence) {
			x.append(l, e)
		}
	}
	x.wantRefill(l)
	x.forget(l)
	x.relieve(l)
}

// refillFailed asks again.
func (x *index) refillFailed(r refillRequest) {
	x.mu.Lock()
	defer x.mu.Unlock()
	l := x.class(r.urgent).lanes[r.lane]
	l.refilling = false
	x.wantRefill(l)
}

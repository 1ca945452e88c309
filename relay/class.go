package relay

import "container/heap"

// urgentInARow is how many attempts for urgent messages are started in a row
// while a bulk one is ready: then a bulk lane has its turn, so that urgent ones
// without end delay the others, but never stop them.
const urgentInARow = 8

// class is the messages of one priority that the index holds: the two classes of
// an ordering key are two lanes.
type class struct {
	urgent   bool
	lanes    map[string]*lane
	ready    readyList
	due      dueHeap // of retries
	kept     dueHeap // of what waits and was not tried: no retry, and at nobody's expense
	schedule schedule
	extra    int // messages of its lanes that are beside the room for reading ahead
	beside   int // how many these may be

	parked     parked
	sinceRetry int // attempts since the last retry
}

func newClass(urgent bool, beside int) class {
	return class{urgent: urgent, lanes: map[string]*lane{}, beside: beside, schedule: newSchedule(beside)}
}

// delist takes a lane from where it waits for its turn.
func (c *class) delist(l *lane) {
	if l.due >= 0 {
		heap.Remove(c.waiting(l), l.due)
	}
	if l.listed {
		c.ready.remove(l)
	}
}

// waiting is the heap for a lane whose head waits.
func (c *class) waiting(l *lane) *dueHeap {
	if l.untried {
		return &c.kept
	}
	return &c.due
}

// turn is the class that has the next attempt; nil: nothing is ready.
func (x *index) turn() *class {
	urgent, bulk := x.urgent.ready.first != nil, x.bulk.ready.first != nil
	switch {
	case urgent && (!bulk || x.inARow < urgentInARow):
		x.inARow++
		return &x.urgent
	case bulk:
		x.inARow = 0
		return &x.bulk
	default:
		return nil
	}
}

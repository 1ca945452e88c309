package relay

import (
	"sync/atomic"
	"time"
)

// edgeClock tells the time of the edge on a machine that has another. The times
// of messages are the edge's: a drain whose clock is wrong must neither deliver
// before a message is due nor let it die early.
type edgeClock struct{ ahead atomic.Int64 } // nanoseconds that the edge is ahead

// clockNoise is how far the clocks may differ without that being one that is
// wrong: an answer takes its time, and two clocks always differ a little.
const clockNoise = time.Second

// set takes the edge's time from an answer to what was sent at one moment and
// answered at another. Zero, from an edge that tells none, changes nothing.
func (c *edgeClock) set(sent, answered, edge time.Time) {
	if edge.IsZero() {
		return
	}
	ahead := edge.Sub(sent.Add(answered.Sub(sent) / 2))
	if ahead.Abs() < clockNoise+answered.Sub(sent) {
		ahead = 0
	}
	c.ahead.Store(int64(ahead))
}

// at is the edge's time when it is now here.
func (c *edgeClock) at(now time.Time) time.Time { return now.Add(time.Duration(c.ahead.Load())) }

package relay

import "time"

// What a queue with a message that is ready may wait for at the gate, while the
// circuit is closed.
const (
	HeldByQuiet = "throttled" // the destination asked to be left alone
	HeldByRate  = "rate"      // the destination's rate is used up
	HeldByShare = "share"     // the destination is trusted with no more, or no more of this queue
)

// HeldText says HeldBy in words; empty: the queue waits for nothing.
func (s *QueueStatus) HeldText() string {
	switch s.HeldBy {
	case HeldByQuiet:
		return "the destination asked to be left alone for a time (429, or Retry-After)"
	case HeldByRate:
		return "the rate for the destination is used up"
	case HeldByShare:
		return "the destination is trusted with no more attempts of this queue at one time: it waits for its share"
	}
	return ""
}

// GateStatus is what a gate lets through now.
type GateStatus struct {
	Limit     int           // attempts at one time; 0 while the circuit is open
	InFlight  int           // attempts under way
	Waiting   int           // queues with a message that is ready and no permit for it
	Quiet     time.Duration // for how long the destination is left alone, as it asked
	Rate      float64       // attempts a second; 0: no bound
	Throttled uint64        // how often the destination asked to be left alone
}

// Status is for operators and metrics.
func (g *Gate) Status() GateStatus {
	g.mu.Lock()
	defer g.mu.Unlock()
	return GateStatus{Limit: g.trusted(), InFlight: g.inFlight, Waiting: g.waiting, Throttled: g.throttled,
		Quiet: max(0, time.Until(g.quiet)), Rate: g.options.Rate * g.limit.part()}
}

// trusted is the limit of all queues, or what those that are drained may have
// together where that is less.
func (g *Gate) trusted() int {
	switch g.circuit.state {
	case stateOpen:
		return 0
	case stateHalfOpen:
		return 1
	}
	together, limit := 0, g.limit.limit()
	for _, s := range g.shares {
		if s.terms > 0 {
			together += s.limit()
		}
	}
	if together == 0 {
		return limit
	}
	return min(limit, together)
}

// HeldBy says what a queue waits for at this moment; empty: for nothing, or for
// the circuit.
func (g *Gate) HeldBy(q Queue) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.shares[q]
	if s == nil || len(s.waiting) == 0 || g.circuit.state != stateClosed {
		return ""
	}
	now := time.Now()
	switch {
	case now.Before(g.quiet):
		return HeldByQuiet
	case g.full() || g.held >= g.options.Concurrency || (s.held > 0 && g.keepsOne()) || !s.free():
		return HeldByShare
	case g.bucket.wait(now, g.limit.part()) > 0:
		return HeldByRate
	}
	return ""
}

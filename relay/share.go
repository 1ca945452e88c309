package relay

import (
	"slices"
	"time"

	"github.com/failsafe-go/failsafe-go/adaptivelimiter"
)

const (
	// standing is what an attempt under way counts in the choice of the next one,
	// in seconds of the destination's time: queues of one weight get as many at
	// one time, however long each takes.
	standing = 1.0
	// memory bounds what is remembered of a queue that had more than another, in
	// the same unit: afterwards it does not wait for longer than it took to take.
	memory = 10.0
)

// share is what one queue has of a destination. The gate's mutex is over it.
type share struct {
	weight   float64
	terms    int       // of workers that drain the queue; 0: it is not drained now
	waiting  []*Permit // first come, first served
	inFlight int
	held     int
	place    int // in Gate.active, -1: it is not there

	used   float64   // attempts x seconds / weight; what was used before it was active counts as fair
	usedAt time.Time // as of then

	limiter adaptivelimiter.AdaptiveLimiter[any] // follows the latency of this queue's attempts
	ceiling allowance                            // follows their failures
	pace    pace
}

type sharePermit = adaptivelimiter.Permit

// startFrom sets the limit to start, and lets it rise and fall with the latency
// of what comes.
func (s *share) startFrom(start, most int, now time.Time) {
	s.limiter = adaptivelimiter.NewBuilder[any]().
		WithLimits(1, uint(most), uint(start)).
		WithRecentWindow(rampStep, slowestStep, 5).
		Build()
	s.ceiling = newAllowance(most, most, now)
	s.pace = pace{}
}

// limit is how many attempts of this queue may be under way at one time, as far
// as their own latency and failures tell.
func (s *share) limit() int { return min(s.limiter.Limit(), s.ceiling.limit()) }

// free says whether one more is within that limit.
func (s *share) free() bool {
	if s.inFlight >= s.ceiling.limit() {
		s.ceiling.pressed = true
		return false
	}
	return s.limiter.CanAcquirePermit()
}

// permit takes one; call it after free has said yes.
func (s *share) permit() sharePermit {
	p, _ := s.limiter.TryAcquirePermit() // there is one: permits are taken under the gate's mutex alone
	return p
}

// account adds up the time that this queue has used, until now.
func (s *share) account(now time.Time) {
	s.used += float64(s.held) * max(0, now.Sub(s.usedAt).Seconds()) / s.weight
	s.usedAt = now
}

// turn orders the queues that wait: the lowest is next.
func (s *share) turn() float64 { return s.used + float64(s.held)*standing/s.weight }

// share finds the share of a queue, or makes it.
func (g *Gate) share(q Queue) *share {
	s := g.shares[q]
	if s == nil {
		s = &share{weight: g.weight(q, 0), place: -1}
		s.startFrom(g.limit.limit(), g.options.Concurrency, time.Now())
		g.shares[q] = s
	}
	return s
}

// weight is the share of a queue: the one that is given, or the configured one.
func (g *Gate) weight(q Queue, given int) float64 {
	if given <= 0 {
		given = g.options.Weights[q.Organization]
	}
	return float64(max(1, given))
}

// Weigh gives a queue another weight, from now on; 0: the configured one.
func (g *Gate) Weigh(q Queue, weight int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.share(q)
	if w := g.weight(q, weight); w != s.weight {
		now := time.Now()
		s.account(now) // what it has used, it has used with the weight before
		s.weight = w
		g.grant(now)
	}
}

// Join says that a queue is drained from now on: a permit is kept for it while
// it has none. Leave ends that.
func (g *Gate) Join(q Queue) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.share(q)
	if s.terms++; s.terms == 1 {
		g.joined++
	}
}

// Leave is the end of Join.
func (g *Gate) Leave(q Queue) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.share(q)
	if s.terms--; s.terms == 0 {
		g.joined--
		g.grant(time.Now())
	}
}

// queueUp has somebody wait for a permit. A queue that comes back from rest has
// saved nothing up.
func (g *Gate) queueUp(p *Permit, now time.Time) {
	s := p.share
	s.waiting = append(s.waiting, p)
	g.waiting++
	if s.place < 0 {
		s.place = len(g.active)
		g.active = append(g.active, s)
		s.used, s.usedAt = max(s.used, g.fair), now
	}
}

func (g *Gate) leaveQueue(p *Permit) {
	s := p.share
	if i := slices.Index(s.waiting, p); i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
		g.waiting--
	}
	g.rest(s)
}

// rest takes a share that neither waits nor holds anything from the active ones.
func (g *Gate) rest(s *share) {
	if s.place < 0 || s.held > 0 || len(s.waiting) > 0 {
		return
	}
	last := g.active[len(g.active)-1]
	g.active[s.place], last.place = last, s.place
	g.active[len(g.active)-1] = nil
	g.active = g.active[:len(g.active)-1]
	s.place = -1
}

// choose finds the queue whose turn it is; nil: none of those that wait may have
// one more.
func (g *Gate) choose(now time.Time) *share {
	least := g.leastUsed(now)
	kept := g.keepsOne()
	var next *share
	for _, s := range g.active {
		s.used = min(s.used, least+memory)
		switch {
		case len(s.waiting) == 0:
		case kept && s.held > 0:
			g.limit.pressed = true
		case s.free() && (next == nil || s.turn() < next.turn()):
			next = s
		}
	}
	return next
}

func (g *Gate) leastUsed(now time.Time) float64 {
	for i, s := range g.active {
		s.account(now)
		if i == 0 || s.used < g.fair {
			g.fair = s.used
		}
	}
	return g.fair
}

// keepsOne says whether the next permit is kept for a queue that has none: no
// queue may have all of them, however slowly the destination answers it.
func (g *Gate) keepsOne() bool {
	limit := g.limit.limit()
	return g.circuit.state == stateClosed && limit > 1 && g.joined > g.busy &&
		(g.inFlight+1 >= limit || g.held+1 >= g.options.Concurrency)
}

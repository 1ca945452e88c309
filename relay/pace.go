package relay

import (
	"math"
	"time"
)

const (
	paceNow    = 2 * time.Second  // over which the present pace is averaged
	paceUsual  = 20 * time.Second // over which the usual one is
	paceSlack  = 0.100            // seconds; a difference below is no overload, and may be the relay's own
	strainFor  = 5 * time.Second  // how long a failure marks a queue as strained
	heardSince = 10 * time.Second
)

// pace is how long a queue's attempts take, now and usually, in seconds.
type pace struct {
	now, usual float64
	at         time.Time // of the last answer; zero: none
}

func (p *pace) add(took time.Duration, at time.Time) {
	seconds := took.Seconds()
	if p.at.IsZero() {
		*p = pace{now: seconds, usual: seconds, at: at}
		return
	}
	since := at.Sub(p.at)
	p.now += (seconds - p.now) * weightOf(since, paceNow)
	p.usual += (seconds - p.usual) * weightOf(since, paceUsual)
	p.at = at
}

// weightOf is what a new value counts in an average over a time.
func weightOf(since, over time.Duration) float64 { return 1 - math.Exp(-float64(since)/float64(over)) }

// slowed: attempts take more than twice as long as usual.
func (p *pace) slowed() bool { return p.now > 2*p.usual && p.now-p.usual > paceSlack }

// follow learns from an attempt that was answered: the limits rise or fall.
func (g *Gate) follow(p *Permit, now time.Time) {
	s, took := p.share, now.Sub(p.began)
	s.pace.add(took, now)
	if s.ceiling.due(now, took) {
		s.ceiling.rise(now)
	}
	if !g.limit.due(now, took) {
		return
	}
	if g.strained(now) {
		g.limit.fall(now, now, g.leastShared())
	} else {
		g.limit.rise(now)
	}
}

// leastShared is how far slowness lowers the limit: a queue that is slow shall
// not take the last place from one that seems to be.
func (g *Gate) leastShared() float64 { return float64(min(2, max(1, g.joined))) }

// strain learns from an attempt that failed at a destination that is there: the
// queue's limit is halved. Where the destination says that it is too much, all
// queues leave it alone for as long as it says.
func (g *Gate) strain(p *Permit, r Result, now time.Time) {
	p.share.ceiling.fall(p.began, now, 1)
	if r.Reason != ReasonThrottled && r.RetryAfter == 0 {
		return
	}
	g.limit.fall(p.began, now, 1)
	g.throttled++
	if until := now.Add(max(throttlePause, min(r.RetryAfter, maxThrottle))); until.After(g.quiet) {
		g.quiet = until
	}
}

// How long a destination is left alone that says so: at least, because it may
// not say for how long, and at most, because it may say anything.
const (
	throttlePause = time.Second
	maxThrottle   = 5 * time.Minute
)

// strained says whether most of the queues that were heard of lately are slow or
// fail. One alone is no witness against the destination: its own limit falls.
func (g *Gate) strained(now time.Time) bool {
	heard, bad := 0, 0
	for _, s := range g.shares {
		failed := now.Sub(s.ceiling.fell) < strainFor
		if !failed && now.Sub(s.pace.at) > heardSince {
			continue
		}
		heard++
		if failed || s.pace.slowed() {
			bad++
		}
	}
	return heard > 1 && 2*bad > heard
}

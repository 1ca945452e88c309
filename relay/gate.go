package relay

import (
	"context"
	"slices"
	"sync"
	"time"
)

// GateOptions bound what a destination is asked to bear.
type GateOptions struct {
	Concurrency   int           // attempts at one time, over all queues
	ProbeInterval time.Duration // between probes of an open circuit
	ProbeTimeout  time.Duration
	Failures      int            // consecutive failures that open the circuit
	Rate          float64        // attempts a second, over all queues; 0: as many as there are
	Burst         int            // attempts that may begin at once where the rate was not used before
	Weights       map[string]int // shares of organizations; 1 of those that are not named
}

// DefaultGateOptions suit a small Foreman: it imports a few reports a second
// (contract, section 3, throughput), and must not be run over when it comes
// back. The limit starts at one and follows the destination's latency. There is
// no rate by default: what a Foreman bears a second is not known, and its
// latency tells.
func DefaultGateOptions() GateOptions {
	return GateOptions{Concurrency: 8, ProbeInterval: 5 * time.Second, ProbeTimeout: 5 * time.Second, Failures: 5, Burst: 10}
}

// Gate stands before a destination: a circuit that opens when nobody is there,
// a limit of concurrent attempts that begins at one after every outage, and a
// rate. All queues of the destination share it; a permit goes to the queue that
// has had the least of the destination's time for its weight, and one is kept
// for a queue that has none.
type Gate struct {
	options GateOptions
	probe   func(context.Context) error
	probing chan struct{} // wakes the prober

	mu        sync.Mutex // over all below
	circuit   circuit
	limit     allowance // of attempts at one time, over all queues
	bucket    bucket
	quiet     time.Time // the destination asked for no attempt until then
	throttled uint64    // how often it has asked
	wake      *time.Timer
	inFlight  int // permits that are out
	held      int // attempts that are not recorded yet
	waiting   int // those who wait for a permit

	shares map[Queue]*share
	active []*share // that wait for a permit or hold one
	joined int      // queues that are drained now
	busy   int      // queues that hold a permit
	fair   float64  // share.used of the queue that has had the least
}

// NewGate makes a closed gate. Run must run for an open circuit to close again.
func NewGate(o GateOptions, probe func(context.Context) error) *Gate {
	g := &Gate{options: o, probe: probe, probing: make(chan struct{}, 1), circuit: newCircuit(),
		limit: newAllowance(1, o.Concurrency, time.Now()), bucket: newBucket(o.Rate, o.Burst), shares: map[Queue]*share{}}
	g.wake = time.AfterFunc(time.Hour, g.goOn)
	g.wake.Stop()
	return g
}

// Permit is the right to make one attempt: give it back with Gate.Report or
// Drop, and tell Done when what came of it is recorded. In between the attempt
// counts still: it is what a crash would make again.
type Permit struct {
	share *share
	limit sharePermit
	began time.Time     // zero: not given yet
	ready chan struct{} // closed when it is given to somebody who waits
}

// Acquire waits until an attempt for the queue may be made.
func (g *Gate) Acquire(ctx context.Context, q Queue) (*Permit, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p := g.enlist(q)
	if p.ready == nil {
		return p, nil
	}
	select {
	case <-p.ready:
		return p, nil
	case <-ctx.Done():
		g.withdraw(p)
		return nil, ctx.Err()
	}
}

// enlist returns a permit that is given already, or one with a channel to wait
// on.
func (g *Gate) enlist(q Queue) *Permit {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	p := &Permit{share: g.share(q)}
	g.queueUp(p, now)
	g.grant(now)
	if p.began.IsZero() {
		p.ready = make(chan struct{})
	}
	return p
}

// withdraw is for somebody who waits no more; a permit may have come just now.
func (g *Gate) withdraw(p *Permit) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !p.began.IsZero() {
		g.drop(p)
		g.done(p, time.Now())
	} else {
		g.leaveQueue(p)
	}
	g.grant(time.Now())
}

// grant gives permits to those who wait, as long as there is one to give.
func (g *Gate) grant(now time.Time) {
	for g.waiting > 0 && g.passable(now) {
		s := g.choose(now)
		if s == nil {
			return
		}
		if wait := g.bucket.wait(now, g.limit.part()); wait > 0 {
			g.limit.pressed = true
			g.wake.Reset(wait)
			return
		}
		g.admit(s, now)
	}
}

// goOn grants again once a rate or a time of quiet may allow it.
func (g *Gate) goOn() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.grant(time.Now())
}

// passable says whether the destination may be asked to bear one more.
func (g *Gate) passable(now time.Time) bool {
	switch {
	case !g.circuit.passable():
		return false
	case now.Before(g.quiet):
		g.wake.Reset(g.quiet.Sub(now))
		return false
	case g.held >= g.options.Concurrency:
		return false
	case g.circuit.state == stateClosed && g.full():
		g.limit.pressed = true
		return false
	}
	return true
}

// full says whether as many are under way as the limit allows. What one queue has
// beyond it since the limit fell does not keep the others out: of the places that
// are left one is kept for them.
func (g *Gate) full() bool {
	limit := g.limit.limit()
	if g.inFlight <= limit || limit == 1 || g.joined < 2 {
		return g.inFlight >= limit
	}
	counted := 0
	for _, s := range g.active {
		counted += min(s.inFlight, limit-1)
	}
	return counted >= limit
}

// admit gives a permit to the first who waits for one of a queue.
func (g *Gate) admit(s *share, now time.Time) {
	p := s.waiting[0]
	s.waiting = slices.Delete(s.waiting, 0, 1)
	g.waiting--
	if s.held == 0 {
		g.busy++
	}
	s.held++
	s.inFlight++
	g.held++
	g.inFlight++
	g.bucket.take()
	p.limit, p.began = s.permit(), now
	if g.circuit.state == stateHalfOpen {
		g.circuit.trial = p
	}
	if p.ready != nil {
		close(p.ready)
	}
}

// Drop gives a permit back for which no attempt was made. A half-open circuit
// closes: its trial is made by the next one, alone too, since the limit is one.
func (g *Gate) Drop(p *Permit) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.drop(p)
	g.grant(time.Now())
}

func (g *Gate) drop(p *Permit) {
	trial := g.circuit.trial == p
	g.giveBack(p, false)
	g.bucket.putBack()
	if trial {
		g.turn(stateClosed)
	}
}

// giveBack ends what a permit counts for at the destination. sample: its time
// says something of the destination's pace.
func (g *Gate) giveBack(p *Permit, sample bool) {
	if sample {
		p.limit.Record()
	} else {
		p.limit.Drop()
	}
	p.share.inFlight--
	g.inFlight--
	if g.circuit.trial == p {
		g.circuit.trial = nil
	}
}

// Done ends an attempt.
func (g *Gate) Done(p *Permit) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	g.done(p, now)
	g.grant(now)
}

func (g *Gate) done(p *Permit, now time.Time) {
	s := p.share
	s.account(now)
	s.held--
	g.held--
	if s.held == 0 {
		g.busy--
		g.rest(s)
	}
}

// Report gives the permit back with what came of the attempt, and returns the
// result as it stands after the probe: ClassUnavailable becomes ClassOutage, or
// what the result says for a destination that is there.
func (g *Gate) Report(ctx context.Context, p *Permit, r Result) Result {
	if r.Class == ClassUnavailable {
		r = g.confirm(ctx, p, r)
		g.mu.Lock()
		defer g.mu.Unlock()
		if r.Class == ClassTransient {
			g.strain(p, r, time.Now())
			g.fail()
		}
		return r
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	switch r.Class {
	case ClassDenied:
		g.giveBack(p, false)
		g.circuit.blame(r)
		g.open(now.Add(r.Hold))
		g.circuit.real = true
	case ClassTransient:
		g.giveBack(p, false)
		g.circuit.blame(r)
		g.strain(p, r, now)
		g.fail()
	default:
		g.giveBack(p, true)
		g.circuit.failures = 0
		if g.circuit.state == stateHalfOpen {
			g.turn(stateClosed)
		}
		g.follow(p, now)
	}
	g.grant(now)
	return r
}

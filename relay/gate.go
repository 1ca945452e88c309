package relay

import (
	"context"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/adaptivelimiter"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
)

// GateOptions bound what a destination is asked to bear.
type GateOptions struct {
	Concurrency   int           // attempts at one time, over all queues
	ProbeInterval time.Duration // between probes of an open circuit
	ProbeTimeout  time.Duration
	Failures      int // consecutive failures that open the circuit
}

// DefaultGateOptions suit a small Foreman: it imports a few reports a second
// (contract, section 3, throughput), and must not be run over when it comes
// back. The limit starts at one and follows the destination's latency.
func DefaultGateOptions() GateOptions {
	return GateOptions{Concurrency: 8, ProbeInterval: 5 * time.Second, ProbeTimeout: 5 * time.Second, Failures: 5}
}

// rampStep is the least time between two raises of the limit by one.
const rampStep = 250 * time.Millisecond

// Gate stands before a destination: a circuit that opens when nobody is there,
// and an adaptive limit of concurrent attempts that begins at one after every
// outage. All queues of the destination share it; permits are given first come,
// first served.
type Gate struct {
	options GateOptions
	probe   func(context.Context) error
	limiter adaptivelimiter.AdaptiveLimiter[any]
	probing chan struct{} // wakes the prober
	slots   chan struct{} // one for each attempt that is not recorded yet

	mu       sync.Mutex // over every use of circuit: its changes are ours to tell
	circuit  circuitbreaker.CircuitBreaker[any]
	changed  chan struct{} // closed and replaced at every change of the circuit
	hold     time.Time     // the circuit stays open until then
	verdict  *verdict      // of the next probe; nil while the circuit is not open
	lastDown string        // what the last failed probe said
	since    time.Time     // when the circuit left closed; zero while it is closed
	cause    string        // the last failure of an attempt
}

// verdict is what a probe found that began after a failure: whether anybody is
// there.
type verdict struct {
	done chan struct{}
	up   bool
}

func (v *verdict) is(up bool) {
	v.up = up
	close(v.done)
}

// NewGate makes a closed gate. Run must run for an open circuit to close again.
func NewGate(o GateOptions, probe func(context.Context) error) *Gate {
	g := &Gate{options: o, probe: probe, changed: make(chan struct{}), probing: make(chan struct{}, 1),
		slots: make(chan struct{}, o.Concurrency)}
	g.circuit = circuitbreaker.NewBuilder[any]().
		WithFailureThreshold(uint(o.Failures)).
		WithDelay(365 * 24 * time.Hour). // closed again by the probe alone
		Build()
	g.limiter = adaptivelimiter.NewBuilder[any]().
		WithLimits(1, uint(o.Concurrency), 1).
		WithRecentWindow(rampStep, 5*time.Second, 5).
		Build()
	return g
}

// turn does something to the circuit and tells those who wait if it changed.
func (g *Gate) turn(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	before := g.circuit.State()
	f()
	after := g.circuit.State()
	if before == after {
		return
	}
	close(g.changed)
	g.changed = make(chan struct{})
	switch {
	case before == circuitbreaker.ClosedState:
		g.since = time.Now()
	case after == circuitbreaker.ClosedState:
		g.since = time.Time{}
	}
	if after == circuitbreaker.OpenState {
		g.verdict = &verdict{done: make(chan struct{})}
		signal(g.probing)
	} else if g.verdict != nil {
		g.verdict.is(false) // nobody probed after that failure: in doubt, no attempt is burnt
		g.verdict = nil
	}
}

// Permit is the right to make one attempt: give it back with Gate.Report or
// Drop, and tell Done when what came of it is recorded. In between the attempt
// counts still: it is what a crash would make again.
type Permit struct {
	limit adaptivelimiter.Permit
}

// Acquire waits until an attempt may be made.
func (g *Gate) Acquire(ctx context.Context) (*Permit, error) {
	select {
	case g.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p, err := g.acquire(ctx)
	if err != nil {
		g.Done()
	}
	return p, err
}

// Done ends an attempt.
func (g *Gate) Done() { <-g.slots }

func (g *Gate) acquire(ctx context.Context) (*Permit, error) {
	for {
		if err := g.awaitPassable(ctx); err != nil {
			return nil, err
		}
		if ctx.Err() != nil { // the limiter gives a free permit even then
			return nil, ctx.Err()
		}
		limit, err := g.limiter.AcquirePermit(ctx)
		if err != nil {
			return nil, err
		}
		taken := false
		g.turn(func() { taken = g.circuit.TryAcquirePermit() })
		if taken {
			return &Permit{limit}, nil
		}
		limit.Drop()
		if err := g.awaitChange(ctx); err != nil {
			return nil, err
		}
	}
}

func (g *Gate) awaitPassable(ctx context.Context) error {
	for g.Open() {
		if err := g.awaitChange(ctx); err != nil {
			return err
		}
	}
	return nil
}

// awaitChange waits for the circuit to change, and looks again after a second
// in any case: it may have changed just before.
func (g *Gate) awaitChange(ctx context.Context) error {
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case <-g.Changed():
	case <-t.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// Drop gives a permit back for which no attempt was made. A half-open circuit
// closes: its trial is made by the next one, alone too, since the limit is one.
func (g *Gate) Drop(p *Permit) {
	p.limit.Drop()
	g.turn(func() {
		if g.circuit.IsHalfOpen() {
			g.circuit.RecordSuccess()
		}
	})
}

// Report gives the permit back with what came of the attempt, and returns the
// result as it stands after the probe: ClassUnavailable becomes ClassOutage, or
// what the result says for a destination that is there.
func (g *Gate) Report(ctx context.Context, p *Permit, r Result) Result {
	g.blame(r)
	switch r.Class {
	case ClassUnavailable:
		p.limit.Drop()
		return g.confirm(ctx, r)
	case ClassDenied:
		p.limit.Drop()
		g.open(r.Hold)
	case ClassTransient:
		p.limit.Drop()
		g.turn(g.circuit.RecordFailure)
	default:
		p.limit.Record()
		g.turn(g.circuit.RecordSuccess)
	}
	return r
}

// blame keeps what a circuit that opens now was opened by.
func (g *Gate) blame(r Result) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case r.Class != ClassUnavailable && r.Class != ClassDenied && r.Class != ClassTransient:
	case r.Reason == "" || r.Detail == "":
		g.cause = r.Reason + r.Detail
	default:
		g.cause = r.Reason + ": " + r.Detail
	}
}

// confirm opens the circuit and waits for a probe that begins after the failure.
func (g *Gate) confirm(ctx context.Context, r Result) Result {
	v := g.open(0)
	r.Class = ClassOutage
	select {
	case <-v.done:
		if v.up && r.Confirmed != "" {
			r.Class = r.Confirmed
		}
	case <-ctx.Done():
	}
	return r
}

// open opens the circuit for at least hold and returns the verdict to come.
func (g *Gate) open(hold time.Duration) *verdict {
	g.turn(func() {
		g.circuit.RecordFailure()
		g.circuit.Open()
		if until := time.Now().Add(hold); until.After(g.hold) {
			g.hold = until
		}
	})
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.verdict == nil { // closed again since
		v := &verdict{done: make(chan struct{})}
		v.is(false)
		return v
	}
	return g.verdict
}

// Run probes the destination while the circuit is open, until ctx ends.
func (g *Gate) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.probing:
		}
		for g.Open() {
			if g.tryClose(ctx) || !sleep(ctx, g.options.ProbeInterval) {
				break
			}
		}
	}
}

// tryClose probes once. Where somebody answers and no hold is left, the circuit
// is half open: one attempt tries the way.
func (g *Gate) tryClose(ctx context.Context) bool {
	v := g.takeVerdict()
	probeCtx, cancel := context.WithTimeout(ctx, g.options.ProbeTimeout)
	defer cancel()
	err := g.probe(probeCtx)
	if v != nil {
		v.is(err == nil)
	}
	g.mu.Lock()
	g.lastDown = ""
	if err != nil {
		g.lastDown = err.Error()
	}
	held := time.Until(g.hold) > 0
	g.mu.Unlock()
	if err != nil || held {
		return false
	}
	g.limiter.Reset()
	g.turn(g.circuit.HalfOpen)
	return true
}

// takeVerdict leaves a new verdict for the failures that come while this probe
// is under way.
func (g *Gate) takeVerdict() *verdict {
	g.mu.Lock()
	defer g.mu.Unlock()
	v := g.verdict
	if v != nil {
		g.verdict = &verdict{done: make(chan struct{})}
	}
	return v
}

// Changed is closed at the next change of the circuit.
func (g *Gate) Changed() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changed
}

// Open says whether the circuit is open.
func (g *Gate) Open() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.circuit.IsOpen()
}

// State is the circuit as operators see it: closed, open or half-open.
func (g *Gate) State() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.circuit.State().String()
}

// Limit is the number of concurrent attempts that the destination is trusted
// with now.
func (g *Gate) Limit() int { return g.limiter.Limit() }

// Down says since when the circuit is not closed, and why: what the last probe
// said, or, of a destination that answers it, what opened the circuit. Zero and
// empty while it is closed.
func (g *Gate) Down() (since time.Time, why string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.since.IsZero():
		return time.Time{}, ""
	case g.lastDown != "":
		return g.since, g.lastDown
	default:
		return g.since, g.cause
	}
}

// sleep waits for d; false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

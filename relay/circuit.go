package relay

import (
	"context"
	"time"
)

// The states of a circuit, as operators see them.
const (
	stateClosed   = "closed"
	stateOpen     = "open"
	stateHalfOpen = "half-open"
)

// circuit says whether anybody is there at the destination. Open, no attempt is
// made; half open, one attempt tries the way. The gate's mutex is over it.
type circuit struct {
	state    string
	failures int           // in a row
	real     bool          // it is not open for the sake of a probe alone
	trial    *Permit       // of the attempt that tries the way
	hold     time.Time     // it stays open until then
	changed  chan struct{} // closed and replaced at every change of the state
	verdict  *verdict      // of the next probe; nil while the circuit is not open
	lastDown string        // what the last failed probe said
	since    time.Time     // when it left closed; zero while it is closed
	cause    string        // the last failure of an attempt
}

func newCircuit() circuit { return circuit{state: stateClosed, changed: make(chan struct{})} }

// passable says whether an attempt may be made now.
func (c *circuit) passable() bool {
	return c.state == stateClosed || (c.state == stateHalfOpen && c.trial == nil)
}

// blame keeps what a circuit that opens now was opened by.
func (c *circuit) blame(r Result) {
	c.cause = r.Reason + ": " + r.Detail
	if r.Reason == "" || r.Detail == "" {
		c.cause = r.Reason + r.Detail
	}
}

// verdict is what a probe found that began after a failure: whether anybody is
// there.
type verdict struct {
	done  chan struct{}
	asked bool // somebody waits for it
	up    bool
}

func newVerdict() *verdict { return &verdict{done: make(chan struct{})} }

func (v *verdict) is(up bool) {
	v.up = up
	close(v.done)
}

// turn sets the circuit's state and tells those who wait for a change.
func (g *Gate) turn(state string) {
	c := &g.circuit
	if c.state == state {
		return
	}
	if c.state == stateClosed {
		c.since = time.Now()
	}
	c.state, c.trial = state, nil
	close(c.changed)
	c.changed = make(chan struct{})
	switch state {
	case stateOpen:
		c.verdict = newVerdict()
		signal(g.probing)
		return
	case stateHalfOpen:
		c.failures = 0
	case stateClosed:
		c.since, c.real = time.Time{}, false
	}
	if c.verdict != nil {
		c.verdict.is(false) // nobody probed after that failure: in doubt, no attempt is burnt
		c.verdict = nil
	}
}

// fail counts a failed attempt; too many in a row open the circuit.
func (g *Gate) fail() {
	c := &g.circuit
	if c.failures++; c.failures >= g.options.Failures {
		c.real = true
		g.open(time.Time{})
	}
}

// open opens the circuit at least until a time.
func (g *Gate) open(until time.Time) {
	g.turn(stateOpen)
	if until.After(g.circuit.hold) {
		g.circuit.hold = until
	}
}

// confirm opens the circuit and waits for a probe that begins after the failure.
func (g *Gate) confirm(ctx context.Context, p *Permit, r Result) Result {
	g.mu.Lock()
	g.giveBack(p, false)
	g.circuit.blame(r)
	g.open(time.Time{})
	v := g.circuit.verdict
	v.asked = true
	g.mu.Unlock()
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

// tryClose probes, once more for failures that came while a probe was under way
// and that the destination answered: they are not an outage either.
func (g *Gate) tryClose(ctx context.Context) bool {
	for {
		err := g.ask(ctx)
		g.mu.Lock()
		again := err == nil && !g.circuit.real && g.circuit.verdict != nil && g.circuit.verdict.asked
		if !again {
			defer g.mu.Unlock()
			return g.judge(err)
		}
		g.mu.Unlock()
	}
}

// ask makes one probe and gives its verdict.
func (g *Gate) ask(ctx context.Context) error {
	v := g.takeVerdict()
	ctx, cancel := context.WithTimeout(ctx, g.options.ProbeTimeout)
	defer cancel()
	err := g.probe(ctx)
	if v != nil {
		v.is(err == nil)
	}
	return err
}

// takeVerdict leaves a new verdict for the failures that come while this probe
// is under way.
func (g *Gate) takeVerdict() *verdict {
	g.mu.Lock()
	defer g.mu.Unlock()
	v := g.circuit.verdict
	if v != nil {
		g.circuit.verdict = newVerdict()
	}
	return v
}

// judge ends an open circuit where somebody answered and no hold is left. After
// an outage one attempt tries the way, and everything begins slowly; where the
// first probe was answered there was none, and all goes on.
func (g *Gate) judge(err error) bool {
	c, now := &g.circuit, time.Now()
	c.lastDown = ""
	if err != nil {
		c.lastDown = err.Error()
	}
	if err != nil || now.Before(c.hold) {
		c.real = true
		return false
	}
	if c.real {
		g.startSlowly(now)
		g.turn(stateHalfOpen)
	} else {
		g.turn(stateClosed)
	}
	g.grant(now)
	return true
}

// startSlowly has the limit begin at one, and the rate with it.
func (g *Gate) startSlowly(now time.Time) {
	g.limit = newAllowance(1, g.options.Concurrency, now)
	g.bucket.empty()
	for _, s := range g.shares {
		s.startFrom(1, g.options.Concurrency, now)
	}
}

// Changed is closed at the next change of the circuit.
func (g *Gate) Changed() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.circuit.changed
}

// Open says whether the circuit is open.
func (g *Gate) Open() bool { return g.State() == stateOpen }

// State is the circuit as operators see it: closed, open or half-open.
func (g *Gate) State() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.circuit.state
}

// Down says since when the circuit is not closed, and why: what the last probe
// said, or, of a destination that answers it, what opened the circuit. Zero and
// empty while it is closed.
func (g *Gate) Down() (since time.Time, why string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := &g.circuit
	switch {
	case c.since.IsZero():
		return time.Time{}, ""
	case c.lastDown != "":
		return c.since, c.lastDown
	default:
		return c.since, c.cause
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

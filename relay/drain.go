package relay

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// renewEvery is how often a drain renews its leases: often enough that two
// renewals may fail before a lease ends.
const renewEvery = LeaseTTL / 4

// nudgePause is the least time between two renewals that the edge asks for: with
// many urgent messages one renewal brings the news of all.
const nudgePause = 10 * time.Millisecond

// askAgain is the pause after a renewal that was not answered.
const askAgain = 250 * time.Millisecond

// Registrar grants leases. In one process with the edge and far away it is the
// same request over the same channel.
type Registrar interface {
	Lease(ctx context.Context, r LeaseRequest) (LeaseReply, error)
}

// DrainOptions make a Drain; all fields but Observe, Jitter, Nudged, Deliveries and
// Knows are needed.
type DrainOptions struct {
	Instance       string        // of this drain on this machine; its lock is held
	Session        string        // of this process run
	LongestAttempt time.Duration // how long Destination.Deliver may take
	StopTimeout    time.Duration // how long a stop waits for attempts under way

	Registrar   Registrar
	Journal     func(Queue) (Journal, error)
	Destination Destination
	Gate        *Gate
	Policy      func(route string) Policy
	Limits      IndexLimits
	Now         Clock
	Jitter      func() float64 // in [0, 1); nil: chance
	Log         zerolog.Logger
	Observe     func(AttemptReport)
	// Nudged asks for a renewal at once: the edge has news. nil: renewals come
	// in their own time.
	Nudged <-chan struct{}
	Budget *Budget // of retries, over all queues; nil: no bound
	// Deliveries is the drain's own record of its deliveries, of all queues; nil:
	// none is kept.
	Deliveries Deliveries
	// Knows says whether a route is one of the destination's; a message of another
	// becomes a dead letter. nil: every one is.
	Knows func(route string) bool
}

// Drain delivers all queues of one destination whose lease it holds. Drains
// compete: whoever does not hold the lease stands by.
type Drain struct {
	DrainOptions
	posts map[string]*post // by queue token
	soon  time.Duration    // when to ask again
	edge  string           // the run of the edge that answered last
	heard uint64           // number of its last answer

	silence string // what was logged last of an edge that does not answer
	asked   time.Time
	clock   edgeClock
}

// NewDrain makes a drain; Run runs it.
func NewDrain(o DrainOptions) *Drain {
	return &Drain{DrainOptions: o, posts: map[string]*post{}}
}

// Run drains until ctx ends, waits for the attempts under way (StopTimeout at
// most), and gives the leases back.
func (d *Drain) Run(ctx context.Context) error {
	hard, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	var gate sync.WaitGroup
	gate.Go(func() { d.Gate.Run(hard) })

	for ctx.Err() == nil {
		d.renew(ctx, hard)
		d.pause(ctx)
	}
	clean := d.stop(abort)
	abort()
	gate.Wait()
	if clean {
		d.release()
	}
	return nil
}

func (d *Drain) pause(ctx context.Context) {
	t := time.NewTimer(d.soon)
	defer t.Stop()
	select {
	case <-t.C:
	case <-d.Nudged:
		sleep(ctx, nudgePause-time.Since(d.asked))
	case <-ctx.Done():
	}
}

// renew asks for every lease of the destination and starts or ends terms as the
// answer says. No answer: leases run out by themselves.
func (d *Drain) renew(ctx, hard context.Context) {
	sent := time.Now()
	d.soon, d.asked = renewEvery, sent
	callCtx, cancel := context.WithTimeout(ctx, renewEvery)
	defer cancel()
	reply, err := d.Registrar.Lease(callCtx, d.request())
	if err != nil {
		d.unanswered(ctx, err)
		return
	}
	d.silence = ""
	if d.edge != "" && d.edge != reply.Edge {
		d.startOver()
	}
	d.edge, d.heard = reply.Edge, reply.Answer // the next request says that it was heeded
	d.clock.set(sent, time.Now(), reply.Now)
	for _, g := range reply.Grants {
		p := d.post(g.Queue)
		if p == nil {
			continue
		}
		if !g.Granted {
			p.lose()
			d.soon = min(d.soon, g.Wait+10*time.Millisecond)
			continue
		}
		if g.Wait > 0 {
			p.lose()
			d.soon = min(d.soon, g.Wait)
			continue
		}
		if g.Hold { // the lease is kept: going on needs no takeover
			p.lose()
			continue
		}
		d.Gate.Weigh(g.Queue, g.Weight)
		t := Term{Epoch: g.Epoch, Run: reply.Run, Valid: p.valid, Paused: g.Paused}
		if !p.hold(ctx, hard, t, sent.Add(reply.TTL)) || !p.worker.Tell(g.UrgentAfter, g.UrgentThrough, g.Urgent) {
			d.soon = min(d.soon, askAgain)
		}
		if len(g.Urgent) == MaxTold { // there may be more
			d.soon = min(d.soon, nudgePause)
		}
	}
}

// unanswered asks again soon, and logs why once, not at every try.
func (d *Drain) unanswered(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	d.soon = askAgain
	if d.silence != err.Error() {
		d.silence = err.Error()
		d.Log.Warn().Err(err).Msg("the edge does not answer; leases are not renewed")
	}
}

// startOver ends all terms: the next ones read anew what is settled.
func (d *Drain) startOver() {
	d.Log.Info().Msg("the edge was started again; reading its settled record anew")
	for _, p := range d.posts {
		p.lose()
	}
	d.soon = askAgain
}

func (d *Drain) request() LeaseRequest {
	r := LeaseRequest{Instance: d.Instance, Session: d.Session, LongestAttempt: d.LongestAttempt,
		Breaker: d.Gate.State(), Queues: make(map[string]DrainStatus, len(d.posts)), Edge: d.edge, Answer: d.heard}
	if since, why := d.Gate.Down(); !since.IsZero() {
		r.Down, r.DownFor = why, time.Since(since)
	}
	for token, p := range d.posts {
		status := p.worker.Status()
		status.HeldBy = d.Gate.HeldBy(p.worker.Queue)
		status.Underway = append(status.Underway, p.worker.Leaving()...) // so that nobody takes back what is being settled
		r.Queues[token] = status
	}
	return r
}

func (d *Drain) post(q Queue) *post {
	if p := d.posts[q.Token()]; p != nil {
		return p
	}
	j, err := d.Journal(q)
	if err != nil {
		d.Log.Error().Err(err).Str("queue", q.String()).Msg("cannot drain this queue; trying again")
		return nil
	}
	p := &post{log: d.Log, worker: &Worker{Queue: q, Journal: j, Destination: d.Destination, Gate: d.Gate,
		Policy: d.Policy, Limits: d.Limits, Now: d.now, Jitter: d.Jitter, Log: d.Log, Observe: d.Observe, Deliveries: d.Deliveries, Knows: d.Knows, Budget: d.Budget}}
	d.posts[q.Token()] = p
	return p
}

// now is the time by the edge's clock.
func (d *Drain) now() time.Time { return d.clock.at(d.Now()) }

// stop ends all terms and waits; false when attempts had to be cut off.
func (d *Drain) stop(abort func()) bool {
	done := make(chan struct{})
	go func() {
		for _, p := range d.posts {
			p.end()
		}
		close(done)
	}()
	t := time.NewTimer(d.StopTimeout)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		d.Log.Warn().Dur("waited", d.StopTimeout).Msg("attempts under way are cut off; they will be made again")
		abort()
		<-done
		return false
	}
}

// release gives the leases back, so that the next drain need not wait.
func (d *Drain) release() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	r := d.request()
	r.Release = true
	if _, err := d.Registrar.Lease(ctx, r); err != nil {
		d.Log.Debug().Err(err).Msg("leases not given back; they run out")
	}
}

// post is the drain's standing with one queue: the worker, and the term it
// serves if the lease is held.
type post struct {
	worker *Worker
	log    zerolog.Logger

	mu     sync.Mutex
	epoch  uint64
	paused bool
	until  time.Time // by this process's monotonic clock
	expiry *time.Timer
	cancel context.CancelFunc
	ending bool          // the term was ended; its attempts may still be under way
	done   chan struct{} // closed when the term has ended; nil: none was begun
}

// hold begins a term or prolongs the one that runs; false while another one
// still ends. A pause, and its end, is another term of the same lease.
func (p *post) hold(ctx, hard context.Context, t Term, until time.Time) bool {
	if p.running() && !p.serves(t.Epoch, t.Paused) {
		p.lose()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.runningLocked() {
		if p.ending || !p.expiry.Stop() { // it has just run out
			return false
		}
		p.until = until
		p.expiry.Reset(time.Until(until))
		return true
	}
	p.ending = false
	termCtx, cancel := context.WithCancel(ctx)
	p.epoch, p.paused, p.until, p.cancel, p.done = t.Epoch, t.Paused, until, cancel, make(chan struct{})
	p.expiry = time.AfterFunc(time.Until(until), cancel)
	go func(done chan struct{}) {
		defer close(done)
		defer cancel()
		if err := p.worker.Run(termCtx, hard, t); err != nil && termCtx.Err() == nil {
			p.log.Warn().Err(err).Msg("a term ended early; beginning another")
		}
	}(p.done)
	return true
}

func (p *post) valid() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Before(p.until)
}

// serves says whether the term is the one of this lease, paused or not as it is
// now.
func (p *post) serves(epoch uint64, paused bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.epoch == epoch && p.paused == paused
}

func (p *post) running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.runningLocked()
}

func (p *post) runningLocked() bool {
	if p.done == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// lose ends the term without waiting for it.
func (p *post) lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cancel != nil {
		p.until, p.ending = time.Time{}, true
		p.cancel()
	}
}

// end ends the term and waits for it.
func (p *post) end() {
	p.lose()
	p.mu.Lock()
	done := p.done
	p.mu.Unlock()
	if done != nil {
		<-done
	}
}

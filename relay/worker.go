package relay

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// readBatch is how many entries the reader asks for at one time.
const readBatch = 256

// sweepInterval is how often a worker looks for messages past their maximum age.
const sweepInterval = 30 * time.Second

// retryPause is the pause after a failed call to the broker.
const retryPause = 250 * time.Millisecond

// Worker drains one queue while it holds the queue's lease. One term is: read
// the settled record, set the cursor behind it, then read ahead into the index
// and attempt the heads of the lanes until the lease ends.
type Worker struct {
	Queue       Queue
	Journal     Journal
	Destination Destination
	Gate        *Gate
	Policy      func(route string) Policy
	Limits      IndexLimits
	Now         Clock
	Jitter      func() float64 // in [0, 1); nil: chance
	Log         zerolog.Logger
	// Observe is told of every attempt, after its outcome is recorded; may be nil.
	Observe func(AttemptReport)
	Budget  *Budget // of the destination's retries; nil: no bound

	// Deliveries is what this drain knows of its own deliveries; nil: nothing.
	Deliveries Deliveries

	index  atomic.Pointer[index] // of the running term
	unkept atomic.Bool           // Deliveries could not be written last
}

// AttemptReport is what an observer is told.
type AttemptReport struct {
	Queue   Queue
	Entry   Entry
	Route   string
	Result  Result
	Outcome Outcome
	Took    time.Duration
}

// Term is the time for which a worker holds its queue's lease.
type Term struct {
	Epoch uint64
	Run   uint64 // of the edge that granted it: a message of another one is not for this term
	// Valid says whether the lease still holds at this moment; no attempt is
	// started after it has ended, even by a process that was frozen meanwhile.
	Valid func() bool
}

// Run drains until ctx ends, then waits for the attempts that are under way:
// what they did is recorded even after the lease has ended, because it is true.
// hard ends that wait too; what is not recorded then will be attempted again.
func (w *Worker) Run(ctx, hard context.Context, t Term) error {
	ledger, err := w.Journal.Ledger(ctx)
	if err != nil {
		return fmt.Errorf("read the settled record of %s: %w", w.Queue, err)
	}
	if err := w.Journal.Seek(ctx, ledger.Floor()+1); err != nil {
		return fmt.Errorf("set the cursor of %s to %d: %w", w.Queue, ledger.Floor()+1, err)
	}
	x := newIndex(w.Limits, ledger.Floor(), ledger.Settled)
	x.budget = w.Budget
	w.index.Store(x)
	defer w.index.Store(nil)
	w.Log.Debug().Uint64("floor", ledger.Floor()).Uint64("epoch", t.Epoch).Msg("draining")

	w.Gate.Join(w.Queue)
	defer w.Gate.Leave(w.Queue)
	r := &term{Worker: w, Term: t, x: x, known: ledger, hard: hard}
	var loops sync.WaitGroup
	for _, loop := range []func(context.Context){r.read, r.refill, r.dispatch, r.sweep} {
		loops.Go(func() { loop(ctx) })
	}
	loops.Wait()
	r.attempts.Wait()
	return nil
}

// Underway are the sequences of the messages that are being attempted.
func (w *Worker) Underway() []uint64 {
	if x := w.index.Load(); x != nil {
		return x.underway()
	}
	return nil
}

// Held is how many lanes are due for a retry that the budget has nothing for.
func (w *Worker) Held() int {
	if x := w.index.Load(); x != nil {
		return x.held(w.Now())
	}
	return 0
}

// term is one run of a worker: four loops that share an index.
type term struct {
	*Worker
	Term
	x        *index
	known    *Ledger // as it was when the term began; read only
	hard     context.Context
	attempts sync.WaitGroup
}

// read fills the index from the journal. An open circuit stops it, unless there
// is nothing left that could grow too old.
func (t *term) read(ctx context.Context) {
	for ctx.Err() == nil {
		free, empty := t.x.room()
		if free <= 0 || (t.Gate.Open() && !empty) {
			t.awaitRoom(ctx)
			continue
		}
		entries, err := t.Journal.Read(ctx, min(free, readBatch))
		if err != nil {
			t.recover(ctx, err)
			continue
		}
		for i := range entries {
			t.recall(&entries[i])
		}
		t.x.add(entries)
	}
}

func (t *term) awaitRoom(ctx context.Context) {
	select {
	case <-t.x.roomC:
	case <-t.Gate.Changed():
	case <-ctx.Done():
	}
}

// recover sets the cursor behind what the index has: a read that failed may
// have moved it further than the index knows.
func (t *term) recover(ctx context.Context, err error) {
	for ctx.Err() == nil && err != nil {
		t.Log.Warn().Err(err).Str("queue", t.Queue.String()).Msg("reading the journal failed; reading again")
		if !sleep(ctx, retryPause) {
			return
		}
		err = t.Journal.Seek(ctx, t.x.position()+1)
	}
}

// recall adds what earlier terms have recorded of a message.
func (t *term) recall(e *Entry) {
	if wait, ok := t.known.Waiting(e.Sequence); ok {
		if wait.Pause {
			wait.Next = time.Time{} // the pause that it waited for is over: a term has begun
		}
		*e = wait.recalled(*e)
	}
}

// refill reads the rest of lanes that have run dry.
func (t *term) refill(ctx context.Context) {
	for {
		r, ok := t.x.nextRefill()
		if !ok {
			select {
			case <-t.x.refillsC:
				continue
			case <-ctx.Done():
				return
			}
		}
		entries, err := t.Journal.Lane(ctx, r.lane, r.from, r.through, t.Limits.Lane)
		if err != nil {
			t.Log.Warn().Err(err).Str("queue", t.Queue.String()).Msg("reading a lane again failed; retrying")
			t.x.refillFailed(r)
			if !sleep(ctx, retryPause) {
				return
			}
			continue
		}
		for i := range entries {
			t.recall(&entries[i])
		}
		t.x.refilled(r, entries)
	}
}

// dispatch starts an attempt for the head of each ready lane as the gate lets it.
func (t *term) dispatch(ctx context.Context) {
	for t.awaitReady(ctx) {
		permit, err := t.Gate.Acquire(ctx, t.Queue)
		if err != nil {
			return
		}
		e, ok := t.x.next()
		if !ok {
			t.Gate.Drop(permit)
			t.Gate.Done(permit)
			continue
		}
		t.attempts.Go(func() {
			defer t.Gate.Done(permit)
			t.attempt(ctx, e, permit)
		})
	}
}

// awaitReady waits until a lane is ready; false when ctx ended.
func (t *term) awaitReady(ctx context.Context) bool {
	for ctx.Err() == nil {
		ready, at := t.x.wakeDue(t.Now())
		if ready {
			return true
		}
		timer := time.NewTimer(untilDue(at, t.Now()))
		select {
		case <-t.x.readyC:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return false
}

func untilDue(at, now time.Time) time.Duration {
	const atMost = time.Minute // clocks may be set
	if at.IsZero() {
		return atMost
	}
	return max(0, min(at.Sub(now), atMost))
}

// sweep settles what has reached its maximum age, circuit open or not.
func (t *term) sweep(ctx context.Context) {
	for sleep(ctx, sweepInterval) {
		for ctx.Err() == nil && t.Valid() {
			e, ok := t.x.takeExpired(t.expired(t.Now()))
			if !ok {
				break
			}
			t.expire(ctx, e)
		}
	}
}

// expired says which entries have reached the maximum age of their route.
func (t *term) expired(now time.Time) func(Entry) bool {
	return func(e Entry) bool { return now.Sub(e.Accepted) > t.Policy(e.Route).MaxAge }
}

func (t *term) jitter() float64 {
	if t.Jitter != nil {
		return t.Jitter()
	}
	return rand.Float64() //nolint:gosec // it spreads retries, it keeps no secret
}

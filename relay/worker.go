package relay

import (
	"context"
	"errors"
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
	// Knows says whether a route is one of the destination's; nil: every one is.
	Knows  func(route string) bool
	Budget *Budget // of the destination's retries; nil: no bound

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
	// Paused: no attempt is started at all; what grows too old is settled.
	Paused bool
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
	r := &term{Worker: w, Term: t, x: x, known: ledger, hard: hard, compaction: newCompaction()}
	var loops sync.WaitGroup
	run := []func(context.Context){r.read, r.refill, r.sweep, r.compact}
	if !t.Paused {
		run = append(run, r.dispatch, r.readTold)
	}
	for _, loop := range run {
		loops.Go(func() { loop(ctx) })
	}
	loops.Wait()
	r.attempts.Wait()
	return nil
}

// Status is what the edge is told of the running term; the zero value when there
// is none.
func (w *Worker) Status() DrainStatus {
	x := w.index.Load()
	if x == nil {
		return DrainStatus{}
	}
	s := x.status()
	s.Held = x.held(w.Now())
	return s
}

// Tell passes on word of urgent messages (see Grant) to the term that has asked;
// false while there is none that could.
func (w *Worker) Tell(after, through uint64, sequences []uint64) bool {
	x := w.index.Load()
	if x != nil {
		x.tell(after, through, sequences)
	}
	return x != nil
}

// Leaving are the sequences of the messages that are being recorded as superseded.
func (w *Worker) Leaving() []uint64 {
	if x := w.index.Load(); x != nil {
		return x.left()
	}
	return nil
}

// term is one run of a worker: loops that share an index.
type term struct {
	*Worker
	Term
	x        *index
	known    *Ledger // as it was when the term began; read only
	hard     context.Context
	attempts sync.WaitGroup

	compaction *compaction
}

// read fills the index from the journal. An open circuit stops it, and so does a
// pause, unless there is nothing left that could grow too old.
func (t *term) read(ctx context.Context) {
	for ctx.Err() == nil {
		free, empty := t.x.room()
		if free <= 0 || ((t.Paused || t.Gate.Open()) && !empty) {
			t.awaitRoom(ctx)
			continue
		}
		entries, err := t.Journal.Read(ctx, min(free, readBatch))
		if err != nil {
			t.recover(ctx, err)
			continue
		}
		t.recallAll(entries)
		t.x.add(entries)
		t.offer(ctx, entries)
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

// recall adds what earlier terms have recorded of a message, and what its route
// says of it.
func (t *term) recall(e *Entry) {
	e.Latest = t.Policy(e.Route).Latest
	if wait, ok := t.known.Waiting(e.Sequence); ok {
		if wait.Pause {
			wait.Next = time.Time{} // the pause that it waited for is over: a term has begun
		}
		*e = wait.recalled(*e)
	}
}

// refill reads the rest of what was left in the journal: of lanes that have run
// dry, and of a schedule.
func (t *term) refill(ctx context.Context) {
	for ctx.Err() == nil {
		if r, ok := t.x.nextRefill(); ok {
			t.refillLane(ctx, r)
		} else if r, ok := t.x.nextSchedule(); ok {
			t.refillSchedule(ctx, r)
		} else {
			select {
			case <-t.x.refillsC:
			case <-ctx.Done():
			}
		}
	}
}

func (t *term) refillLane(ctx context.Context, r refillRequest) {
	entries, err := t.Journal.Lane(ctx, r.lane, r.urgent, r.from, r.through, t.Limits.Lane)
	if err != nil {
		t.Log.Warn().Err(err).Str("queue", t.Queue.String()).Msg("reading a lane again failed; retrying")
		t.x.refillFailed(r)
		sleep(ctx, retryPause)
		return
	}
	t.recallAll(entries)
	t.x.refilled(r, entries)
	t.offer(ctx, entries)
}

// refillSchedule reads all that was left of a schedule: which of it is due first
// is known at the end.
func (t *term) refillSchedule(ctx context.Context, r scheduleRequest) {
	for from := r.from; ctx.Err() == nil; {
		entries, err := t.Journal.Scheduled(ctx, r.urgent, from, r.through, readBatch)
		if err != nil {
			t.Log.Warn().Err(err).Str("queue", t.Queue.String()).Msg("reading what is scheduled again failed; retrying")
			sleep(ctx, retryPause)
			continue
		}
		t.recallAll(entries)
		more := len(entries) >= readBatch
		t.x.rescheduled(r, entries, more)
		if !more {
			return
		}
		from = entries[len(entries)-1].Sequence + 1
	}
}

func (t *term) recallAll(entries []Entry) {
	for i := range entries {
		t.recall(&entries[i])
	}
}

// readTold reads the urgent messages that the edge has told of, ahead of the
// reader. One that cannot be read at all comes with the reader.
func (t *term) readTold(ctx context.Context) {
	for ctx.Err() == nil {
		sequence, ok := t.x.nextTold()
		if !ok {
			select {
			case <-t.x.toldC:
			case <-ctx.Done():
			}
			continue
		}
		m := t.told(ctx, sequence)
		if m == nil {
			continue
		}
		e := Entry{Sequence: sequence, Lane: LaneToken(m.Lane, m.ID), Route: m.Route, Accepted: m.Stored,
			Urgent: m.Urgent, NotBefore: m.NotBefore, Expires: m.Expires, ID: m.ID, Keyed: m.Key != "", Kind: m.Kind}
		t.recall(&e)
		t.x.takeAhead(e)
		t.offer(ctx, []Entry{e})
	}
}

// told reads an urgent message, again and again while the broker is away: those
// behind it in its lane must not be taken before it. nil: the reader has it, or
// will make a dead letter of it.
func (t *term) told(ctx context.Context, sequence uint64) *Message {
	for {
		m, err := t.Journal.Message(ctx, sequence)
		if err == nil {
			return m
		}
		t.Log.Debug().Err(err).Str("queue", t.Queue.String()).Uint64("sequence", sequence).Msg("an urgent message is not read ahead")
		if errors.Is(err, ErrMissing) || errors.Is(err, ErrEnvelope) || !t.x.isAhead(sequence) || !sleep(ctx, retryPause) {
			return nil
		}
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

// sweep settles what has reached its maximum age or the time it was given,
// circuit open or not, queue paused or not.
func (t *term) sweep(ctx context.Context) {
	for sleep(ctx, sweepInterval) {
		t.sweepOnce(ctx)
	}
}

// sweepOnce looks at each lane once, and goes on with those in which something
// was found. It ends with its term.
func (t *term) sweepOnce(ctx context.Context) {
	now := t.Now()
	t.x.wakeDue(now)
	expired := t.expired(now)
	for again := true; again && ctx.Err() == nil && t.Valid(); again = t.x.unparkExpired(expired) {
		t.sweepLanes(ctx, expired)
	}
}

func (t *term) sweepLanes(ctx context.Context, expired func(Entry) bool) {
	for _, l := range t.x.expired(expired) {
		for ctx.Err() == nil && t.Valid() {
			e, ok := t.x.takeExpired(l, expired)
			if !ok {
				break
			}
			t.expire(ctx, e)
		}
	}
}

// expired says which entries are past the end of their time at now.
func (t *term) expired(now time.Time) func(Entry) bool {
	return func(e Entry) bool {
		end, _ := t.Policy(e.Route).end(e.Accepted, e.Expires)
		return now.After(end)
	}
}

func (t *term) jitter() float64 {
	if t.Jitter != nil {
		return t.Jitter()
	}
	return rand.Float64() //nolint:gosec // it spreads retries, it keeps no secret
}

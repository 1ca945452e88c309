package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// ErrBarrierFailed is what every Wait returns from the first failed sync on;
// ErrBarrierClosed what it returns after Close.
var (
	ErrBarrierFailed = errors.New("durability barrier failed")
	ErrBarrierClosed = errors.New("durability barrier closed")
)

const defaultBarrierInterval = time.Second

// Barrier tells its waiters when what they wrote is on the disk. One sync
// serves all who wait, whatever queue they wrote to; whoever comes while it runs
// waits for the next, because the running one may have passed by their data
// already.
//
// A failed sync is never tried again: the kernel marks the pages that it could
// not write as clean, so a second sync would succeed and lie. All who wait and
// all who come later get ErrBarrierFailed, Failed is closed, and the process
// must end and look at the disk anew (see Reverify).
//
// The sync runs in one goroutine, which Close ends.
type Barrier struct {
	flush     func() error // nil: there is nothing to wait for
	interval  time.Duration
	observe   func(took time.Duration, served int)
	onFailure func(error)

	wake    chan struct{} // holds one wake-up
	failed  chan struct{}
	stopped chan struct{}

	dirty atomic.Bool // written under mu

	mu         sync.Mutex // never held during a sync
	next       *cohort    // who joins now
	dirtySince time.Time
	began      time.Time // of the running sync
	closing    bool
	err        error
	stats      BarrierStats
}

// cohort is who waits for one and the same sync.
type cohort struct {
	done    chan struct{}
	err     error // set before done is closed
	waiting int   // guarded by Barrier.mu
}

func newCohort() *cohort { return &cohort{done: make(chan struct{})} }

// BarrierStats counts since the start.
type BarrierStats struct {
	Syncs   uint64 // calls that have returned, the failed one too
	Served  uint64 // waiters that a sync has answered
	Total   time.Duration
	Longest time.Duration
}

// BarrierOption changes what NewBarrier makes.
type BarrierOption func(*Barrier)

// BarrierInterval is how long anything stays dirty when nobody waits for it; a
// second when d is not positive.
func BarrierInterval(d time.Duration) BarrierOption {
	return func(b *Barrier) {
		if d > 0 {
			b.interval = d
		}
	}
}

// BarrierObserve calls observe after each sync and after its waiters were let
// go, from the barrier's goroutine: it must not wait for the barrier.
func BarrierObserve(observe func(took time.Duration, served int)) BarrierOption {
	return func(b *Barrier) { b.observe = observe }
}

// BarrierOnFailure calls onFailure once, when a sync has failed and before
// anybody is told: so the Marker is set even if the process ends at once.
func BarrierOnFailure(onFailure func(error)) BarrierOption {
	return func(b *Barrier) { b.onFailure = onFailure }
}

// NewBarrier starts a barrier around sync, which SyncFS makes. Close ends it.
func NewBarrier(sync func() error, opts ...BarrierOption) *Barrier {
	b := &Barrier{
		flush:    sync,
		interval: defaultBarrierInterval,
		wake:     make(chan struct{}, 1),
		failed:   make(chan struct{}),
		stopped:  make(chan struct{}),
		next:     newCohort(),
	}
	for _, opt := range opts {
		opt(b)
	}
	go b.run()
	return b
}

// NoBarrier is for the modes in which the broker's acknowledgement is all there
// is to wait for: it waits for nothing, and only Fail makes it fail.
func NoBarrier(opts ...BarrierOption) *Barrier {
	b := &Barrier{failed: make(chan struct{})}
	for _, opt := range opts {
		opt(b)
	}
	return b
}

// Wait returns nil only after a sync that began after the call has succeeded.
// It returns ctx's error when ctx ends first; what the caller wrote is synced
// all the same, in the background. There is no need for MarkDirty before it.
func (b *Barrier) Wait(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		b.MarkDirty()
		return err
	}
	c, err := b.join()
	if c == nil {
		return err
	}
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		b.leave(c)
		return ctx.Err()
	}
}

// MarkDirty asks for a sync within the interval, for data that nobody waits
// for. It costs next to nothing when something is dirty already. Call it after
// the write, and not after Close.
func (b *Barrier) MarkDirty() {
	// A mark that is still set when the write is done has not been taken by a
	// sync, so the sync that takes it begins after the write.
	if b.flush == nil || b.dirty.Load() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.markDirty()
}

// Failed is closed when a sync has failed.
func (b *Barrier) Failed() <-chan struct{} { return b.failed }

// Err wraps ErrBarrierFailed and the reason once a sync has failed.
func (b *Barrier) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// Stats is what has been done so far.
func (b *Barrier) Stats() BarrierStats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stats
}

// Fail says that the disk has failed where no sync of ours could see it: in the
// broker's own fsync. It is as if a sync had failed. A barrier that syncs nothing
// can fail this way too.
func (b *Barrier) Fail(reason error) {
	reason = fmt.Errorf("%w: %w", ErrBarrierFailed, reason)
	if b.onFailure != nil {
		b.onFailure(reason)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail(reason)
	if b.flush != nil {
		b.rouse()
	}
}

// Busy is how long the running sync has been under way; zero when none is.
func (b *Barrier) Busy() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.began.IsZero() {
		return 0
	}
	return time.Since(b.began)
}

// Close serves who waits already, syncs what is dirty and ends the goroutine;
// it takes as long as the disk does. It returns Err. Closing again is harmless.
func (b *Barrier) Close() error {
	b.mu.Lock()
	b.closing = true
	b.mu.Unlock()
	if b.flush != nil {
		b.rouse()
		<-b.stopped
	}
	return b.Err()
}

// join returns no cohort where there is nothing to wait for, and why.
func (b *Barrier) join() (*cohort, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.err != nil:
		return nil, b.err
	case b.closing:
		return nil, ErrBarrierClosed
	case b.flush == nil:
		return nil, nil //nolint:nilnil // no barrier is needed: nothing to wait for, nothing wrong
	}
	b.next.waiting++
	if b.next.waiting == 1 { // who comes later finds the goroutine on its way
		b.rouse()
	}
	return b.next, nil
}

// leave gives up waiting, but not on what was written before.
func (b *Barrier) leave(c *cohort) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c.waiting--
	if c == b.next {
		b.markDirty()
	}
}

// markDirty is for holders of mu. The goroutine is woken to look at the clock.
func (b *Barrier) markDirty() {
	if !b.dirty.Load() {
		b.dirtySince = time.Now()
		b.dirty.Store(true)
		b.rouse()
	}
}

func (b *Barrier) rouse() { signal(b.wake) }

func (b *Barrier) run() {
	defer close(b.stopped)
	for {
		due, rest, stop := b.take(time.Now())
		switch {
		case stop:
			return
		case due == nil:
			b.rest(rest)
		case !b.serve(due):
			return
		}
	}
}

// rest waits to be woken, for that long at most where it is positive.
func (b *Barrier) rest(atMost time.Duration) {
	if atMost <= 0 {
		<-b.wake
		return
	}
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-b.wake:
	case <-timer.C:
	}
}

// take returns the cohort to sync for now, or how long until there is something
// to do (zero: until somebody comes), or that the barrier is closed and done.
// A sync for the cohort covers all up to now: who joins or marks later is left
// for the next.
func (b *Barrier) take(now time.Time) (due *cohort, rest time.Duration, stop bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return nil, 0, true
	}
	dirty := b.dirty.Load()
	if dirty {
		rest = b.interval - now.Sub(b.dirtySince)
	}
	switch {
	case b.next.waiting > 0, dirty && (rest <= 0 || b.closing):
		due, b.next = b.next, newCohort()
		b.dirty.Store(false)
		b.began = now
		return due, 0, false
	case b.closing:
		return nil, 0, true
	}
	return nil, rest, false
}

// serve syncs once and tells the cohort; false after a failure, for good.
func (b *Barrier) serve(c *cohort) bool {
	start := time.Now()
	err := b.flush()
	took := time.Since(start)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrBarrierFailed, err)
		if b.onFailure != nil {
			b.onFailure(err)
		}
	}
	served := b.record(c, err, took)
	close(c.done)
	if b.observe != nil {
		b.observe(took, served)
	}
	return c.err == nil
}

// record counts, and after a failure turns away who has joined since.
func (b *Barrier) record(c *cohort, err error, took time.Duration) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	served := c.waiting
	b.stats.Syncs++
	b.stats.Served += uint64(served)
	b.stats.Total += took
	b.stats.Longest = max(b.stats.Longest, took)
	b.began = time.Time{}
	if err != nil {
		b.fail(err)
	}
	c.err = b.err // also when the disk failed elsewhere meanwhile
	return served
}

// fail is for holders of mu; the first reason stays.
func (b *Barrier) fail(err error) {
	if b.err != nil {
		return
	}
	b.err = err
	if b.next != nil {
		b.next.err = err
		close(b.next.done)
	}
	close(b.failed)
}

// signal wakes who waits at a channel that holds one wake-up.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

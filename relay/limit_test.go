package relay

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A gateLoad keeps a gate busy for a time of the bubble.
type gateLoad struct {
	g   *gateTest
	ctx context.Context
	wg  sync.WaitGroup
}

func (g *gateTest) load(for_ time.Duration) *gateLoad {
	ctx, cancel := context.WithTimeout(g.t.Context(), for_)
	g.t.Cleanup(cancel)
	return &gateLoad{g: g, ctx: ctx}
}

// from has so many senders of a queue make attempts one after the other; each
// takes as long as attempt sleeps, and has its result.
func (l *gateLoad) from(q Queue, senders int, attempt func() Result) *laneLoad {
	s := &laneLoad{}
	for range senders {
		l.wg.Go(func() {
			for {
				began := time.Now()
				p, err := l.g.Acquire(l.ctx, q)
				if err != nil {
					return
				}
				s.waited.Store(max(s.waited.Load(), int64(time.Since(began))))
				s.begun.Add(1)
				s.most.Store(max(s.most.Load(), s.now.Add(1)))
				r := attempt()
				s.now.Add(-1)
				l.g.Report(context.WithoutCancel(l.ctx), p, r)
				l.g.Done(p)
			}
		})
	}
	return s
}

// laneLoad is what a queue's senders have seen.
type laneLoad struct {
	begun     atomic.Int64 // attempts
	now, most atomic.Int64 // at one time
	waited    atomic.Int64 // for a permit, at most; nanoseconds
}

// org is the queue of an organization.
func org(name string) Queue { return Queue{name, ForemanDestination} }

func taking(d time.Duration) func() Result {
	return func() Result {
		time.Sleep(d)
		return Result{Class: ClassDelivered}
	}
}

func failing(d time.Duration, r Result) func() Result {
	return func() Result {
		time.Sleep(d)
		return r
	}
}

// A destination that bears four at a time: with more of them each takes longer,
// more than in proportion. The limit stays near what it bears.
func TestTheLimitFollowsADestinationThatSlowsDown(t *testing.T) {
	o := DefaultGateOptions()
	o.Concurrency = 32
	inGate(t, o, func(g *gateTest) {
		t := g.t
		g.Join(here)
		var active atomic.Int32
		load := g.load(3 * time.Minute)
		load.from(here, 64, func() Result {
			n := time.Duration(active.Add(1))
			defer active.Add(-1)
			d := 50 * time.Millisecond
			if n > 4 {
				d = d * n * n / 16
			}
			time.Sleep(d)
			return Result{Class: ClassDelivered}
		})
		var sum, n int
		for range 120 {
			time.Sleep(time.Second)
			sum, n = sum+g.Status().Limit, n+1
		}
		load.wg.Wait()
		t.Logf("on average %.1f at one time", float64(sum)/float64(n))
		require.Less(t, sum, 16*n, "half of what is allowed is far beyond what it bears")
		require.Greater(t, sum, 2*n)
	})
}

// Failures of a destination that is there halve the limit of the queue that has
// them, once for all that were under way, and it rises again by one at a time.
func TestFailuresHalveTheLimit(t *testing.T) {
	inGate(t, DefaultGateOptions(), func(g *gateTest) {
		t := g.t
		g.Join(here)
		g.raise(here)
		require.Equal(t, 8, g.Status().Limit)
		all := g.take(here, 8)
		for _, p := range all[:3] {
			g.Report(g.t.Context(), p, Result{Class: ClassTransient, Reason: ReasonServerError})
			g.Done(p)
		}
		require.Equal(t, 4, g.Status().Limit, "three fail of one cause")
		time.Sleep(time.Millisecond)
		p := g.free(all[3:], here)
		g.Report(g.t.Context(), p, Result{Class: ClassUnavailable, Confirmed: ClassTransient, Reason: ReasonTimeout})
		g.Done(p)
		require.Equal(t, "closed", g.State(), "the probe was answered")
		require.Equal(t, 2, g.Status().Limit, "one that was begun since fails too")

		load := g.load(10 * time.Second)
		load.from(here, 16, taking(20*time.Millisecond))
		time.Sleep(rampStep + 100*time.Millisecond)
		require.LessOrEqual(t, g.Status().Limit, 4)
		load.wg.Wait()
		require.Equal(t, 8, g.Status().Limit, "it rises again")
	})
}

// raise keeps a queue busy until the destination is trusted with all.
func (g *gateTest) raise(queues ...Queue) {
	g.t.Helper()
	g.raiseAt(20*time.Millisecond, queues...)
}

func (g *gateTest) raiseAt(takes time.Duration, queues ...Queue) {
	g.t.Helper()
	load := g.load(20 * time.Second)
	for _, q := range queues {
		load.from(q, 16, taking(takes))
	}
	load.wg.Wait()
	require.Equal(g.t, g.options.Concurrency, g.Status().Limit)
}

// take acquires permits that are there.
func (g *gateTest) take(q Queue, n int) []*Permit {
	var all []*Permit
	for range n {
		ctx, cancel := context.WithTimeout(g.t.Context(), time.Millisecond)
		p, err := g.Acquire(ctx, q)
		cancel()
		require.NoError(g.t, err)
		all = append(all, p)
	}
	return all
}

// free gives permits back and takes a new one.
func (g *gateTest) free(all []*Permit, q Queue) *Permit {
	for _, p := range all {
		g.Drop(p)
		g.Done(p)
	}
	return g.take(q, 1)[0]
}

// 429, and whatever says Retry-After: nothing is sent to the destination for so
// long, from no queue.
func TestAThrottledDestinationIsLeftAlone(t *testing.T) {
	for name, c := range map[string]struct {
		answer Result
		quiet  time.Duration
	}{
		"429":                  {Result{Class: ClassTransient, Reason: ReasonThrottled}, throttlePause},
		"429 with Retry-After": {Result{Class: ClassTransient, Reason: ReasonThrottled, RetryAfter: 30 * time.Second}, 30 * time.Second},
		"503 with Retry-After": {Result{Class: ClassUnavailable, Confirmed: ClassTransient, RetryAfter: time.Minute}, time.Minute},
		"for too long":         {Result{Class: ClassTransient, Reason: ReasonThrottled, RetryAfter: time.Hour}, maxThrottle},
	} {
		t.Run(name, func(t *testing.T) {
			inGate(t, DefaultGateOptions(), func(g *gateTest) {
				t := g.t
				g.raise(org("A"), org("B"))
				p := g.take(org("A"), 1)[0]
				g.Report(t.Context(), p, c.answer)
				g.Done(p)
				require.EqualValues(t, 1, g.Status().Throttled)
				require.InDelta(t, c.quiet, g.Status().Quiet, float64(time.Second))
				began := time.Now()
				for _, q := range []Queue{org("A"), org("B")} {
					p, err := g.Acquire(t.Context(), q)
					require.NoError(t, err)
					require.InDelta(t, c.quiet, time.Since(began), float64(20*time.Millisecond))
					defer g.Done(p)
					defer g.Drop(p)
				}
				require.Equal(t, "closed", g.State())
				require.Equal(t, 4, g.Status().Limit, "and fewer at one time than before")
			})
		})
	}
}

// When the destination is slow to most of those who share it, it is the
// destination; slow to one, it is that one.
func TestTheLimitOfAllFallsWhenMostAreSlow(t *testing.T) {
	inGate(t, DefaultGateOptions(), func(g *gateTest) {
		t := g.t
		names := []Queue{org("A"), org("B"), org("C"), org("D")}
		for _, q := range names {
			g.Join(q)
		}
		g.raise(names...)
		load := g.load(10 * time.Second)
		load.from(names[0], 16, taking(400*time.Millisecond))
		for _, q := range names[1:] {
			load.from(q, 16, taking(20*time.Millisecond))
		}
		for range 9 {
			time.Sleep(time.Second)
			require.Equal(t, 8, g.limitOfAll())
		}
		load.wg.Wait()

		load = g.load(10 * time.Second)
		for _, q := range names {
			load.from(q, 16, taking(400*time.Millisecond))
		}
		lowest := 8
		for range 50 {
			time.Sleep(100 * time.Millisecond)
			lowest = min(lowest, g.limitOfAll())
		}
		require.Equal(t, 2, lowest, "the last but one place is for another than has the last")
		load.wg.Wait()

		g.raise(names...)
		load = g.load(3 * time.Second)
		for _, q := range names {
			load.from(q, 4, failing(20*time.Millisecond, Result{Class: ClassTransient}))
			load.from(q, 4, taking(20*time.Millisecond))
		}
		time.Sleep(2 * time.Second)
		require.LessOrEqual(t, g.limitOfAll(), 4)
		load.wg.Wait()
	})
}

func (g *gateTest) limitOfAll() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.limit.limit()
}

// A probe that is answered tells that there was no outage: nobody begins anew.
func TestAFalseAlarmIsNoOutage(t *testing.T) {
	inGate(t, DefaultGateOptions(), func(g *gateTest) {
		t := g.t
		g.Join(org("A"))
		g.Join(org("B"))
		g.raise(org("A"), org("B"))
		began := time.Now()
		for _, p := range g.take(org("A"), 3) {
			r := g.Report(t.Context(), p, gone)
			g.Done(p)
			require.Equal(t, ClassTransient, r.Class)
		}
		require.Less(t, time.Since(began), time.Second)
		require.Equal(t, "closed", g.State())
		require.Equal(t, 8, g.limitOfAll())
	})
}

// All that fail while a probe is under way get an answer of their own.
func TestFailuresDuringAProbeAreProbedAgain(t *testing.T) {
	inGate(t, DefaultGateOptions(), func(g *gateTest) {
		t := g.t
		g.raise(here)
		var counted atomic.Int32
		var wg sync.WaitGroup
		for i, p := range g.take(here, 4) {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 3 * time.Millisecond) // a probe takes 10
				if g.Report(t.Context(), p, gone).Class == ClassTransient {
					counted.Add(1)
				}
				g.Done(p)
			})
		}
		wg.Wait()
		require.EqualValues(t, 4, counted.Load())
	})
}

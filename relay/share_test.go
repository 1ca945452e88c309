package relay

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Queues have the destination's time by their weights, not so many attempts: of
// one whose attempts take a hundred times longer there are as many under way.
func TestSharesAreOfTimeNotOfAttempts(t *testing.T) {
	for name, c := range map[string]struct {
		weights map[string]int
		given   int     // A's, while everything runs; 0: none
		want    float64 // A's part of the time
	}{
		"even":             {nil, 0, 0.5},
		"three to one":     {map[string]int{"A": 3}, 0, 0.75},
		"one to three":     {map[string]int{"B": 3}, 0, 0.25},
		"changed to one":   {map[string]int{"A": 100}, 1, 0.5},
		"changed to three": {map[string]int{"A": 100}, 3, 0.75},
	} {
		t.Run(name, func(t *testing.T) {
			o := DefaultGateOptions()
			o.Weights = c.weights
			inGate(t, o, func(g *gateTest) {
				t := g.t
				g.Join(org("A"))
				g.Join(org("B"))
				g.raise(org("A"), org("B"))
				const last = 2 * time.Minute
				load := g.load(last)
				a := load.from(org("A"), 16, taking(time.Second))
				b := load.from(org("B"), 16, taking(10*time.Millisecond))
				if c.given > 0 {
					time.Sleep(time.Second)
					g.Weigh(org("A"), c.given)
				}
				load.wg.Wait()
				used := [2]float64{float64(a.begun.Load()), float64(b.begun.Load()) / 100}
				t.Logf("of A %v attempts of 1 s, of B %v of 10 ms", a.begun.Load(), b.begun.Load())
				require.InDelta(t, c.want, used[0]/(used[0]+used[1]), 0.08)
				require.Greater(t, (used[0]+used[1])/last.Seconds(), 6.0, "of eight places hardly one is empty")
			})
		})
	}
}

// A queue that was at rest has saved nothing up: from its first second on it has
// half. One that had much does not pay for it for longer than moments.
func TestThePastIsForgotten(t *testing.T) {
	for name, c := range map[string]struct {
		before time.Duration // A alone
		long   time.Duration // what A's attempts take then, and B waits beside it
	}{
		"B was at rest":         {before: time.Minute},
		"A had all but a place": {before: time.Second, long: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			inGate(t, DefaultGateOptions(), func(g *gateTest) {
				t := g.t
				a, b := org("A"), org("B")
				g.Join(a)
				g.Join(b)
				g.raise(a, b)
				takes := 20 * time.Millisecond
				alone := g.load(c.before)
				alone.from(a, 16, taking(max(takes, c.long)))
				time.Sleep(c.before)
				load := g.load(c.long + 10*time.Second)
				if c.long > 0 {
					load.from(b, 16, taking(takes))
				}
				alone.wg.Wait()
				others := load.from(b, 16, taking(takes))
				mine := load.from(a, 16, taking(takes))
				if c.long > 0 {
					time.Sleep(3 * time.Second)
				}
				mine.begun.Store(0)
				others.begun.Store(0)
				time.Sleep(time.Second)
				require.Greater(t, mine.begun.Load(), int64(150), "about half of 400")
				if c.long == 0 {
					require.Greater(t, others.begun.Load(), int64(150))
				}
				load.wg.Wait()
			})
		})
	}
}

// However much of A is waiting and however long it takes, a place is there for
// B's next message; A's slowness is not B's.
func TestNoQueueHasAllPlaces(t *testing.T) {
	inGate(t, DefaultGateOptions(), func(g *gateTest) {
		t := g.t
		a, b := org("A"), org("B")
		g.Join(a)
		g.Join(b)
		g.raise(a, b)
		load := g.load(2 * time.Minute)
		seen := load.from(a, 50, taking(10*time.Second))
		time.Sleep(time.Second)
		require.EqualValues(t, 7, seen.now.Load(), "all places but one")
		for range 200 {
			began := time.Now()
			p, err := g.Acquire(t.Context(), b)
			require.NoError(t, err)
			require.Zero(t, time.Since(began))
			time.Sleep(10 * time.Millisecond)
			g.Report(t.Context(), p, Result{Class: ClassDelivered})
			g.Done(p)
			time.Sleep(490 * time.Millisecond)
		}
		load.wg.Wait()
		require.EqualValues(t, 7, seen.most.Load())
		require.Equal(t, 8, g.limitOfAll())

		g.Leave(b)
		load = g.load(time.Minute)
		seen = load.from(a, 50, taking(20*time.Millisecond))
		load.wg.Wait()
		require.EqualValues(t, 8, seen.most.Load(), "nothing is kept for nobody")
	})
}

// The limit falls while A has seven of eight places: B need not wait until A has
// given back what is too much now.
func TestWhatOneHasTooMuchKeepsNobodyOut(t *testing.T) {
	inGate(t, DefaultGateOptions(), func(g *gateTest) {
		t := g.t
		a, b := org("A"), org("B")
		g.Join(a)
		g.Join(b)
		g.raise(a, b)
		all := g.take(a, 7)
		time.Sleep(time.Millisecond)
		p := g.take(b, 1)[0]
		time.Sleep(time.Millisecond)
		g.Report(t.Context(), p, Result{Class: ClassTransient, Reason: ReasonThrottled})
		g.Done(p)
		require.Equal(t, 4, g.limitOfAll())
		time.Sleep(2 * throttlePause)
		p = g.take(b, 1)[0]
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for _, q := range []Queue{a, b} {
			_, err := g.Acquire(ctx, q)
			require.Error(t, err, "B has its place, and A three more than it may")
		}
		for _, p := range append(all, p) {
			g.Drop(p)
			g.Done(p)
		}
	})
}

// A new message of a queue waits for no more than a few of the others' attempts,
// where they have all places and it has had less than they.
func TestANewMessageIsNextInTurn(t *testing.T) {
	inGate(t, DefaultGateOptions(), func(g *gateTest) {
		t := g.t
		var queues []Queue
		for i := range 20 {
			queues = append(queues, org(fmt.Sprint(i)))
			g.Join(queues[i])
		}
		late := org("late")
		g.Join(late)
		const takes = 100 * time.Millisecond
		g.raiseAt(takes, queues...)
		load := g.load(time.Minute)
		for _, q := range queues {
			load.from(q, 4, taking(takes))
		}
		for range 100 {
			time.Sleep(303 * time.Millisecond)
			began := time.Now()
			p, err := g.Acquire(t.Context(), late)
			require.NoError(t, err)
			require.LessOrEqual(t, time.Since(began), 2*takes)
			time.Sleep(takes)
			g.Report(t.Context(), p, Result{Class: ClassDelivered})
			g.Done(p)
		}
		load.wg.Wait()
	})
}

// The ramp after an outage is the destination's: sixty queues do not mean sixty.
func TestSixtyQueuesRampUpTogether(t *testing.T) {
	o := DefaultGateOptions()
	o.Concurrency = 64
	inGate(t, o, func(g *gateTest) {
		t := g.t
		var queues []Queue
		for i := range 60 {
			queues = append(queues, org(fmt.Sprint(i)))
			g.Join(queues[i])
		}
		load := g.load(5 * time.Second)
		for _, q := range queues {
			load.from(q, 2, taking(100*time.Millisecond))
		}
		load.wg.Wait()
		g.up.Store(false)
		g.try(gone)
		require.Zero(t, g.Status().Limit, "nothing goes through an open circuit")
		g.up.Store(true)
		load = g.load(11 * time.Second)
		for _, q := range queues {
			load.from(q, 2, taking(100*time.Millisecond))
		}
		for g.Open() {
			time.Sleep(rampStep / 10)
		}
		before := 1
		for i := range 20 {
			s := g.Status()
			require.LessOrEqual(t, s.InFlight, s.Limit)
			require.LessOrEqual(t, s.Limit, before+1, "step %d", i)
			before = s.Limit
			time.Sleep(rampStep)
		}
		require.Greater(t, before, 10)
		load.wg.Wait()
	})
}

// Who stops waiting leaves nothing behind.
func TestAPermitThatIsNotWaitedForIsNotLost(t *testing.T) {
	inGate(t, DefaultGateOptions(), func(g *gateTest) {
		t := g.t
		p := g.take(here, 1)[0] // the limit is one
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := g.Acquire(ctx, here)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			cancel()
		}
		require.Equal(t, 0, g.Status().Waiting)
		q := g.free([]*Permit{p}, here)
		g.Drop(q)
		g.Done(q)
		require.Zero(t, g.Status().InFlight)
		require.Empty(t, g.active)
	})
}

func TestWhatAQueueIsHeldBy(t *testing.T) {
	o := DefaultGateOptions()
	o.Rate, o.Burst = 1, 1
	inGate(t, o, func(g *gateTest) {
		t := g.t
		require.Empty(t, g.HeldBy(here))
		p := g.take(here, 1)[0]
		load := g.load(3 * time.Second)
		load.from(here, 1, taking(time.Millisecond))
		time.Sleep(time.Millisecond)
		require.Equal(t, HeldByShare, g.HeldBy(here), "the limit is one, and it is taken")
		g.Report(t.Context(), p, Result{Class: ClassDelivered})
		g.Done(p)
		require.Equal(t, HeldByRate, g.HeldBy(here))
		require.Empty(t, g.HeldBy(org("A")), "nothing of it waits")
		load.wg.Wait()
		time.Sleep(time.Minute)
		p = g.take(here, 1)[0]
		load = g.load(3 * time.Second)
		load.from(here, 1, taking(time.Millisecond))
		g.Report(t.Context(), p, Result{Class: ClassTransient, RetryAfter: 2 * time.Second})
		g.Done(p)
		time.Sleep(time.Second)
		require.Equal(t, HeldByQuiet, g.HeldBy(here))
		load.wg.Wait()
	})
}

package relay

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// gateTest is a gate in a bubble of its own time, with a destination that is up
// or not.
type gateTest struct {
	*Gate
	t      *testing.T
	up     atomic.Bool
	probes atomic.Int32
}

func inGate(t *testing.T, o GateOptions, f func(g *gateTest)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := &gateTest{t: t}
		g.up.Store(true)
		g.Gate = NewGate(o, func(context.Context) error {
			g.probes.Add(1)
			time.Sleep(10 * time.Millisecond)
			if g.up.Load() {
				return nil
			}
			return errors.New("nobody there")
		})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { g.Run(ctx) })
		defer wg.Wait()
		defer cancel()
		f(g)
	})
}

// try makes one attempt with this result; false when it had to wait for longer
// than a moment.
func (g *gateTest) try(r Result) (Result, bool) {
	ctx, cancel := context.WithTimeout(g.t.Context(), time.Second)
	defer cancel()
	p, err := g.Acquire(ctx, here)
	if err != nil {
		return Result{}, false
	}
	defer g.Done(p)
	time.Sleep(5 * time.Millisecond)
	return g.Report(g.t.Context(), p, r), true
}

// here is the queue of tests that have one.
var here = Queue{DefaultOrganization, ForemanDestination}

var gone = Result{Class: ClassUnavailable, Confirmed: ClassTransient}

func TestGateTellsAnOutageFromABadAnswer(t *testing.T) {
	inGate(t, DefaultGateOptions(), func(g *gateTest) {
		r, ok := g.try(gone)
		require.True(t, ok)
		require.Equal(t, ClassTransient, r.Class, "the probe was answered: the attempt counts")
		r, ok = g.try(Result{Class: ClassDelivered})
		require.True(t, ok)
		require.Equal(t, ClassDelivered, r.Class)
		require.Equal(t, "closed", g.State())

		g.up.Store(false)
		r, ok = g.try(gone)
		require.True(t, ok)
		require.Equal(t, ClassOutage, r.Class)
		require.Equal(t, "open", g.State())
		since, why := g.Down()
		require.Equal(t, "nobody there", why)
		require.WithinDuration(t, time.Now(), since, time.Second)
		_, ok = g.try(Result{Class: ClassDelivered})
		require.False(t, ok, "an open circuit lets nobody through")

		g.up.Store(true)
		time.Sleep(g.options.ProbeInterval + time.Second)
		_, ok = g.try(Result{Class: ClassDelivered})
		require.True(t, ok, "it closes within a probe interval")
		since, why = g.Down()
		require.True(t, since.IsZero(), "a closed circuit is not down since any time")
		require.Empty(t, why)
	})
}

func TestGateProbesAtItsInterval(t *testing.T) {
	inGate(t, DefaultGateOptions(), func(g *gateTest) {
		g.up.Store(false)
		g.try(gone)
		before := g.probes.Load()
		time.Sleep(time.Minute)
		require.InDelta(t, 12, g.probes.Load()-before, 1)
	})
}

func TestGateHoldsWhatIsDenied(t *testing.T) {
	inGate(t, DefaultGateOptions(), func(g *gateTest) {
		opened := time.Now()
		r, _ := g.try(Result{Class: ClassDenied, Hold: 5 * time.Minute, Reason: ReasonUnauthorized, Detail: "no"})
		require.Equal(t, ClassDenied, r.Class)
		time.Sleep(5*time.Minute - 10*time.Second)
		since, why := g.Down()
		require.Equal(t, "unauthorized: no", why, "the probe is answered: what opened the circuit keeps it open")
		require.WithinDuration(t, opened, since, time.Second)
		require.Equal(t, "open", g.State(), "the probe is answered, but the hold is not over")
		time.Sleep(20 * time.Second)
		_, ok := g.try(Result{Class: ClassDelivered})
		require.True(t, ok)
	})
}

func TestGateOpensAfterFailuresInARow(t *testing.T) {
	o := DefaultGateOptions()
	inGate(t, o, func(g *gateTest) {
		for range o.Failures - 1 {
			g.try(Result{Class: ClassTransient})
		}
		g.try(Result{Class: ClassRejected}) // an answer about the message: the destination works
		for range o.Failures - 1 {
			g.try(Result{Class: ClassTransient})
		}
		require.Equal(t, "closed", g.State())
		g.up.Store(false)
		g.try(Result{Class: ClassTransient})
		require.Equal(t, "open", g.State())
	})
}

// After an outage one attempt tries the way; then the limit grows step by step
// up to what is allowed, as long as the destination keeps its pace.
func TestGateRampsUp(t *testing.T) {
	inGate(t, DefaultGateOptions(), func(g *gateTest) {
		g.up.Store(false)
		g.try(gone)
		g.up.Store(true)
		var most, now atomic.Int32
		var steps []int32
		ctx, cancel := context.WithTimeout(g.t.Context(), time.Minute)
		defer cancel()
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				for {
					p, err := g.Acquire(ctx, here)
					if err != nil {
						return
					}
					most.Store(max(most.Load(), now.Add(1)))
					time.Sleep(20 * time.Millisecond)
					now.Add(-1)
					g.Report(ctx, p, Result{Class: ClassDelivered})
					g.Done(p)
				}
			})
		}
		time.Sleep(g.options.ProbeInterval - 2*time.Second)
		for range 40 {
			time.Sleep(rampStep)
			steps = append(steps, most.Load())
		}
		cancel()
		wg.Wait()
		t.Log("most attempts at one time, every", rampStep, ":", steps)
		require.EqualValues(t, DefaultGateOptions().Concurrency, steps[len(steps)-1])
		require.True(t, slices.IsSorted(steps))
		for i := 1; i < len(steps); i++ {
			require.LessOrEqual(t, steps[i]-steps[i-1], int32(2), "it rises step by step")
		}
		for _, n := range steps {
			require.LessOrEqual(t, int(n), DefaultGateOptions().Concurrency)
		}
	})
}

package relay

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// However it is asked, no more than burst + rate*t attempts begin in a time t,
// and somebody who waits as long as he is told gets one.
func TestABucketKeepsItsRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate, burst := rapid.Float64Range(0.01, 1000).Draw(t, "rate"), rapid.IntRange(1, 20).Draw(t, "burst")
		b, start := newBucket(rate, burst), time.Unix(0, 0)
		now, taken := start, 0
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			wait := b.wait(now, 1)
			if wait == 0 {
				b.take()
				taken++
			} else {
				now = now.Add(wait)
				require.Zero(t, b.wait(now, 1), "after the wait")
			}
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "pause")))
			require.LessOrEqual(t, float64(taken), float64(burst)+rate*now.Sub(start).Seconds()+1e-6)
		}
	})
}

// The rate is the destination's, over all queues, and it begins low after an
// outage.
func TestTheRateHoldsAndRamps(t *testing.T) {
	o := DefaultGateOptions()
	o.Rate, o.Burst = 40, 5
	inGate(t, o, func(g *gateTest) {
		t := g.t
		queues := []Queue{org("A"), org("B"), org("C")}
		begun := func(for_ time.Duration) (n int64) {
			load := g.load(for_)
			var all []*laneLoad
			for _, q := range queues {
				all = append(all, load.from(q, 8, taking(5*time.Millisecond)))
			}
			load.wg.Wait()
			for _, l := range all {
				n += l.begun.Load()
			}
			return n
		}
		begun(time.Minute)
		time.Sleep(time.Minute) // the burst is there again
		require.InDelta(t, o.Rate*60+float64(o.Burst), begun(time.Minute), 10)
		require.Equal(t, o.Rate, g.Status().Rate)

		g.up.Store(false)
		g.try(gone)
		g.up.Store(true)
		for g.Open() {
			time.Sleep(100 * time.Millisecond)
		}
		require.Equal(t, o.Rate/8, g.Status().Rate)
		require.LessOrEqual(t, begun(time.Second), int64(20), "the first second after an outage")
		begun(20 * time.Second)
		require.Equal(t, o.Rate, g.Status().Rate)
	})
}

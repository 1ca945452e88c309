package relay

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
)

// pausing grants the lease of one queue, paused or not.
type pausing struct {
	paused atomic.Bool
	ahead  time.Duration // of the edge's clock
	weight atomic.Int32
}

func (p *pausing) Lease(context.Context, LeaseRequest) (LeaseReply, error) {
	return LeaseReply{TTL: LeaseTTL, Edge: "one", Now: time.Now().Add(p.ahead),
		Grants: []Grant{{Queue: Queue{"o", "d"}, Granted: true, Epoch: 1, Paused: p.paused.Load(), Weight: int(p.weight.Load())}}}, nil
}

// counting delivers everything and counts.
type counting struct {
	atomic.Int32
	gate *Gate
}

func (c *counting) Deliver(context.Context, *Message) Result {
	c.Add(1)
	return Result{Class: ClassDelivered}
}
func (c *counting) Probe(context.Context) error { return nil }

// inDrain runs a drain of one queue in a bubble of its own time.
func inDrain(t *testing.T, p *pausing, entries func(now time.Time) []Entry, f func(j *sweptJournal, d *counting)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		j, d, nudged := &sweptJournal{entries: entries(time.Now())}, &counting{}, make(chan struct{})
		o := DefaultGateOptions()
		o.Weights = map[string]int{"o": 4}
		d.gate = NewGate(o, d.Probe)
		drain := NewDrain(DrainOptions{Instance: "i", Session: "s", LongestAttempt: time.Second, StopTimeout: time.Second, Registrar: p,
			Journal: func(Queue) (Journal, error) { return j, nil }, Destination: d, Gate: d.gate,
			Policy: func(string) Policy { return DefaultPolicy() }, Limits: DefaultIndexLimits(), Now: time.Now, Log: zerolog.Nop(), Nudged: nudged})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = drain.Run(ctx) // it has no error to return
		}()
		f(j, d)
		cancel()
		<-done
	})
}

// While a queue is paused its drain delivers nothing, and settles what expires;
// resumed, it delivers the rest.
func TestADrainSweepsWhileItsQueueIsPaused(t *testing.T) {
	p := &pausing{}
	p.paused.Store(true)
	inDrain(t, p, func(now time.Time) []Entry {
		return []Entry{{Sequence: 1, Lane: "a", Accepted: now, Expires: now.Add(time.Minute)}, {Sequence: 2, Lane: "b", Accepted: now}}
	}, func(j *sweptJournal, d *counting) {
		time.Sleep(2 * time.Minute)
		require.Len(t, j.events(), 1)
		require.Equal(t, []any{uint64(1), Dead, ReasonExpired}, []any{j.events()[0].Sequence, j.events()[0].State, j.events()[0].Reason})
		require.Zero(t, d.Load())
		p.paused.Store(false)
		time.Sleep(10 * time.Second)
		require.EqualValues(t, 1, d.Load())
		require.Len(t, j.events(), 2)
		require.Equal(t, Delivered, j.events()[1].State)
	})
}

// The clock of the edge counts: a drain whose own is an hour behind, or ahead,
// delivers what is scheduled neither later nor before.
func TestADrainGoesByTheClockOfTheEdge(t *testing.T) {
	for _, ahead := range []time.Duration{0, time.Hour, -time.Hour} {
		inDrain(t, &pausing{ahead: ahead}, func(now time.Time) []Entry {
			due := now.Add(ahead + time.Minute)
			return []Entry{{Sequence: 1, Lane: "a", Accepted: now.Add(ahead), NotBefore: due, Expires: due.Add(time.Minute)}}
		}, func(j *sweptJournal, d *counting) {
			time.Sleep(55 * time.Second)
			synctest.Wait()
			require.Empty(t, j.events(), ahead)
			time.Sleep(10 * time.Second)
			synctest.Wait()
			require.Len(t, j.events(), 1, ahead)
			require.Equal(t, Delivered, j.events()[0].State, ahead)
		})
	}
}

// The weight that the edge tells counts from the next renewal on, and the
// configured one where it tells none.
func TestADrainObeysTheWeightThatItIsTold(t *testing.T) {
	p := &pausing{}
	inDrain(t, p, func(time.Time) []Entry { return nil }, func(_ *sweptJournal, d *counting) {
		for _, c := range []struct{ told, want int32 }{{0, 4}, {7, 7}, {1, 1}, {0, 4}} {
			p.weight.Store(c.told)
			time.Sleep(LeaseTTL)
			synctest.Wait()
			d.gate.mu.Lock()
			weight := d.gate.share(Queue{"o", "d"}).weight
			d.gate.mu.Unlock()
			require.InDelta(t, c.want, weight, 0)
		}
	})
}

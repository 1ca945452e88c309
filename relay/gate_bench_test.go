package relay

import (
	"context"
	"fmt"
	"sync"
	"testing"
)

// What the gate costs an attempt, in the time of the processor alone: with one
// queue and nobody waiting, and with sixty that all wait.
func BenchmarkGate(b *testing.B) {
	for _, queues := range []int{1, 60} {
		b.Run(fmt.Sprint(queues, " queues"), func(b *testing.B) {
			o := DefaultGateOptions()
			g := NewGate(o, func(context.Context) error { return nil })
			each := b.N/queues + 1
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for i := range queues {
				q := org(fmt.Sprint(i))
				g.Join(q)
				wg.Go(func() {
					for range each {
						p, err := g.Acquire(b.Context(), q)
						if err != nil {
							b.Error(err)
							return
						}
						g.Report(b.Context(), p, Result{Class: ClassDelivered})
						g.Done(p)
					}
				})
			}
			wg.Wait()
		})
	}
}

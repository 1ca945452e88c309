package relay

import (
	"context"
	"testing"
)

// What the gate costs an attempt, with its limit at the top.
func BenchmarkGate(b *testing.B) {
	o := DefaultGateOptions()
	o.Concurrency = 64
	g := NewGate(o, func(context.Context) error { return nil })
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		p, err := g.Acquire(ctx, here)
		if err != nil {
			b.Fatal(err)
		}
		g.Report(ctx, p, Result{Class: ClassDelivered})
		g.Done(p)
	}
}

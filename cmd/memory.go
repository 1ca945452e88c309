package cmd

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The collector of the runtime runs when the heap has doubled. A relay's heap is
// small and its garbage plenty, so that it would run all the time: the heap may
// grow by heapHeadroom before it runs, or double, whichever is more.
const (
	heapHeadroom = 128 << 20 // bytes
	heapLook     = time.Second
)

// tuneMemory keeps the collector so until stop is called, unless the environment
// says how (GOGC, GOMEMLIMIT). It is of the whole process, and so for a command
// to call, not for what tests may run beside each other.
func tuneMemory() (stop func()) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		followHeap(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

func followHeap(ctx context.Context) {
	percent := gcPercent(0)
	before := debug.SetGCPercent(percent)
	defer debug.SetGCPercent(before)
	t := time.NewTicker(heapLook)
	defer t.Stop()
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	for {
		select {
		case <-t.C:
			metrics.Read(sample)
			if p := gcPercent(sample[0].Value.Uint64()); p != percent { // each change stops the world
				percent = p
				debug.SetGCPercent(p)
			}
		case <-ctx.Done():
			return
		}
	}
}

// gcPercent is how much the heap may grow, in percent of what is live, in steps
// of 50.
func gcPercent(live uint64) int {
	const normal, most, step = 100, 1000, 50
	percent := heapHeadroom * 100 / max(live, 1)
	return int(max(normal, min(most, percent/step*step)))
}

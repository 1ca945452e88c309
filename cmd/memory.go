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
	limit := memoryLimit(readHeap().live)
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(limit))
	t := time.NewTicker(heapLook)
	defer t.Stop()
	var q quiet
	for {
		select {
		case <-t.C:
			h := readHeap()
			if p := gcPercent(h.live); p != percent { // each change stops the world
				percent = p
				debug.SetGCPercent(p)
			}
			if l := memoryLimit(h.live); l != limit {
				limit = l
				debug.SetMemoryLimit(limit)
			}
			if q.over(h) {
				debug.FreeOSMemory()
			}
		case <-ctx.Done():
			return
		}
	}
}

// heap is what the runtime says of it, in bytes.
type heap struct {
	live      uint64 // after the last collection
	held      uint64 // live or garbage, or free and not given back
	allocated uint64 // since the start
}

func readHeap() heap {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"}, {Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return heap{live: s[0].Value.Uint64(), held: s[1].Value.Uint64() + s[2].Value.Uint64(), allocated: s[3].Value.Uint64()}
}

// quiet finds the end of a busy time. The runtime keeps what a burst has used
// until it is busy again, or for minutes.
type quiet struct {
	allocated uint64
	looks     int
	done      bool
}

const (
	quietLooks = 5       // in a row, with less than
	quietRate  = 4 << 20 // bytes allocated between two of them
)

// over says, once for each burst, that it is over and has left much behind.
func (q *quiet) over(h heap) bool {
	busy := h.allocated-q.allocated >= quietRate
	q.allocated = h.allocated
	if busy {
		q.looks, q.done = 0, false
		return false
	}
	q.looks++
	if q.done || q.looks < quietLooks {
		return false
	}
	q.done = true
	return h.held > h.live+heapHeadroom/2
}

// gcPercent is how much the heap may grow, in percent of what is live, in steps
// of 50.
func gcPercent(live uint64) int {
	const normal, most, step = 100, 500, 50 // more would let a sudden load take too much before the next look
	percent := heapHeadroom * 100 / max(live, 1)
	return int(max(normal, min(most, percent/step*step)))
}

// memoryLimit is how much memory the runtime may use before the collector and the
// scavenger hurry, in bytes, in steps of 32 MiB: what gcPercent lets the heap grow
// to, and what stacks and the like take. It holds what large bodies would take beyond
// that while the collector runs, and is not met otherwise.
func memoryLimit(live uint64) int64 {
	const step = 32 << 20
	return int64((live+max(heapHeadroom, live))/step+1)*step + step/2
}

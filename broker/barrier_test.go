package broker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

var errDisk = errors.New("input/output error")

// slowDisk counts syncs that began and ended; each takes that long.
type slowDisk struct {
	began, ended atomic.Int64
	takes        time.Duration
	fails        int64 // this sync fails, counted from 1
}

func (d *slowDisk) sync() error {
	n := d.began.Add(1)
	time.Sleep(d.takes)
	if n == d.fails {
		return errDisk
	}
	d.ended.Store(n)
	return nil
}

// wait waits in a goroutine of its own.
func wait(ctx context.Context, b *Barrier) <-chan error {
	got := make(chan error, 1)
	go func() { got <- b.Wait(ctx) }()
	return got
}

func TestBarrierServesWithASyncThatBeganLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &slowDisk{takes: 3 * time.Millisecond}
		b := NewBarrier(disk.sync)
		defer func() { _ = b.Close() }()
		start := time.Now()

		first := wait(t.Context(), b)
		time.Sleep(time.Millisecond) // the first sync runs
		second := wait(t.Context(), b)

		require.NoError(t, <-first)
		assert.Equal(t, 3*time.Millisecond, time.Since(start))
		synctest.Wait()
		select {
		case err := <-second:
			t.Fatal(err, "served by a sync that had begun before it came")
		default:
		}
		require.NoError(t, <-second)
		assert.Equal(t, 6*time.Millisecond, time.Since(start), "the next one begins at once")
		assert.EqualValues(t, 2, disk.began.Load())
	})
}

func TestBarrierSharesSyncs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &slowDisk{takes: 2 * time.Millisecond}
		var served []int
		b := NewBarrier(disk.sync, BarrierObserve(func(took time.Duration, n int) {
			assert.Equal(t, disk.takes, took)
			served = append(served, n)
		}))
		waiters := []<-chan error{wait(t.Context(), b)}
		synctest.Wait() // its sync runs
		for range 255 {
			waiters = append(waiters, wait(t.Context(), b))
		}
		for _, w := range waiters {
			require.NoError(t, <-w)
		}
		require.NoError(t, b.Close())
		assert.Equal(t, []int{1, 255}, served)
		assert.Equal(t, BarrierStats{Syncs: 2, Served: 256, Total: 4 * time.Millisecond, Longest: 2 * time.Millisecond}, b.Stats())
	})
}

func TestBarrierRestsWhenNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &slowDisk{takes: time.Millisecond}
		b := NewBarrier(disk.sync)
		require.NoError(t, b.Wait(t.Context()))
		time.Sleep(time.Hour)
		assert.EqualValues(t, 1, disk.began.Load())
		require.NoError(t, b.Wait(t.Context()), "one alone wakes it")
		require.NoError(t, b.Close())
		assert.EqualValues(t, 2, disk.began.Load())
	})
}

func TestBarrierSyncsWhatIsDirty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &slowDisk{takes: time.Millisecond}
		b := NewBarrier(disk.sync, BarrierInterval(100*time.Millisecond))
		defer func() { _ = b.Close() }()

		b.MarkDirty()
		time.Sleep(60 * time.Millisecond)
		b.MarkDirty() // does not put it off
		time.Sleep(39 * time.Millisecond)
		synctest.Wait()
		assert.Zero(t, disk.began.Load())
		time.Sleep(time.Millisecond)
		synctest.Wait()
		assert.EqualValues(t, 1, disk.began.Load())

		b.MarkDirty() // while that sync runs: it may have been passed by
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		assert.EqualValues(t, 2, disk.began.Load())

		time.Sleep(time.Hour)
		assert.EqualValues(t, 2, disk.began.Load(), "clean")
	})
}

func TestBarrierSyncsOnceForDirtAndWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &slowDisk{takes: time.Millisecond}
		b := NewBarrier(disk.sync)
		b.MarkDirty()
		require.NoError(t, b.Wait(t.Context()))
		time.Sleep(time.Minute)
		require.NoError(t, b.Close())
		assert.EqualValues(t, 1, disk.began.Load())
	})
}

func TestBarrierIntervalIsASecondByDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &slowDisk{}
		b := NewBarrier(disk.sync, BarrierInterval(0))
		defer func() { _ = b.Close() }()
		b.MarkDirty()
		time.Sleep(time.Second - time.Nanosecond)
		synctest.Wait()
		assert.Zero(t, disk.began.Load())
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		assert.EqualValues(t, 1, disk.began.Load())
	})
}

func TestBarrierFailsForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &slowDisk{takes: time.Millisecond, fails: 2}
		var noted []error
		var b *Barrier
		b = NewBarrier(disk.sync, BarrierOnFailure(func(err error) {
			select {
			case <-b.Failed():
				t.Error("told before it was noted")
			default:
			}
			noted = append(noted, err)
		}))
		require.NoError(t, b.Wait(t.Context()))
		require.NoError(t, b.Err())

		served := wait(t.Context(), b)
		synctest.Wait() // the sync that will fail runs
		behind := wait(t.Context(), b)
		synctest.Wait()
		for _, got := range []<-chan error{served, behind} {
			err := <-got
			require.ErrorIs(t, err, ErrBarrierFailed)
			require.ErrorIs(t, err, errDisk)
		}
		<-b.Failed()
		require.ErrorIs(t, b.Wait(t.Context()), ErrBarrierFailed)
		require.ErrorIs(t, b.Err(), errDisk)

		b.MarkDirty()
		time.Sleep(time.Hour)
		require.ErrorIs(t, b.Close(), ErrBarrierFailed)
		require.ErrorIs(t, b.Wait(t.Context()), ErrBarrierFailed, "closing hides nothing")
		assert.EqualValues(t, 2, disk.began.Load(), "never tried again")
		require.Len(t, noted, 1)
		require.ErrorIs(t, noted[0], errDisk)
		assert.Equal(t, uint64(2), b.Stats().Syncs)
	})
}

func TestBarrierFailsInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBarrier((&slowDisk{fails: 1}).sync)
		b.MarkDirty()
		<-b.Failed()
		require.ErrorIs(t, b.Wait(t.Context()), errDisk)
		require.ErrorIs(t, b.Close(), errDisk)
	})
}

func TestBarrierWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &slowDisk{takes: time.Second}
		b := NewBarrier(disk.sync)
		running := wait(t.Context(), b)
		synctest.Wait()

		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		require.ErrorIs(t, b.Wait(ctx), context.DeadlineExceeded)
		require.NoError(t, <-running)
		time.Sleep(time.Minute)
		assert.EqualValues(t, 2, disk.began.Load(), "what it wrote is synced all the same")

		require.ErrorIs(t, b.Wait(ctx), context.DeadlineExceeded)
		time.Sleep(time.Minute)
		assert.EqualValues(t, 3, disk.began.Load(), "also when the context had ended before")
		assert.Equal(t, uint64(1), b.Stats().Served)
		require.NoError(t, b.Close())
	})
}

func TestBarrierClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &slowDisk{takes: time.Millisecond}
		b := NewBarrier(disk.sync)
		first := wait(t.Context(), b)
		synctest.Wait()
		second := wait(t.Context(), b)
		synctest.Wait()

		closed := make(chan error)
		for range 2 {
			go func() { closed <- b.Close() }()
		}
		require.NoError(t, <-first)
		require.NoError(t, <-second, "who waited already is served")
		require.NoError(t, <-closed)
		require.NoError(t, <-closed)
		require.NoError(t, b.Close())
		require.ErrorIs(t, b.Wait(t.Context()), ErrBarrierClosed)
		assert.EqualValues(t, 2, disk.began.Load(), "nothing was dirty")
		select {
		case <-b.Failed():
			t.Fatal("closing is not failing")
		default:
		}
	})
}

func TestBarrierCloseSyncsWhatIsDirty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &slowDisk{}
		b := NewBarrier(disk.sync)
		b.MarkDirty()
		require.NoError(t, b.Close())
		assert.EqualValues(t, 1, disk.began.Load())

		failing := NewBarrier((&slowDisk{fails: 1}).sync)
		failing.MarkDirty()
		require.ErrorIs(t, failing.Close(), errDisk)
		<-failing.Failed()
	})
}

func TestNoBarrier(t *testing.T) {
	goleak.VerifyNone(t, goleak.IgnoreCurrent())
	b := NoBarrier()
	require.NoError(t, b.Wait(t.Context()))
	b.MarkDirty()
	require.NoError(t, b.Err())
	assert.Zero(t, b.Stats())
	require.NoError(t, b.Close())
	require.NoError(t, b.Close())
	require.ErrorIs(t, b.Wait(t.Context()), ErrBarrierClosed)
	select {
	case <-b.Failed():
		t.Fatal("it never fails")
	default:
	}
}

// Many goroutines, real time: whatever the interleaving, a success needs a sync
// that began after the call.
func TestBarrierUnderLoad(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	disk := &slowDisk{takes: 50 * time.Microsecond}
	b := NewBarrier(disk.sync, BarrierInterval(time.Millisecond))
	var waited, gaveUp atomic.Int64
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			for n := range 60 {
				ctx, cancel := context.WithCancel(t.Context())
				if (i+n)%7 == 0 {
					time.AfterFunc(20*time.Microsecond, cancel)
				}
				before := disk.began.Load()
				err := b.Wait(ctx)
				cancel()
				switch {
				case err == nil && disk.ended.Load() <= before:
					t.Errorf("served although sync %d had begun before and %d was the last to end", before, disk.ended.Load())
				case err == nil:
					waited.Add(1)
				case errors.Is(err, context.Canceled):
					gaveUp.Add(1)
				default:
					t.Error(err)
				}
				b.MarkDirty()
			}
		})
	}
	all.Wait()
	dirtyUntil := disk.began.Load()
	require.NoError(t, b.Close())
	assert.EqualValues(t, 32*60, waited.Load()+gaveUp.Load())
	assert.GreaterOrEqual(t, disk.ended.Load(), dirtyUntil)
	stats := b.Stats()
	assert.EqualValues(t, disk.ended.Load(), stats.Syncs)
	assert.GreaterOrEqual(t, stats.Served, uint64(waited.Load()))
	assert.Less(t, stats.Syncs, stats.Served, "syncs are shared")
}

// The disk failed where no sync could see it: who waits and who comes is told, a
// sync that succeeds after it changes nothing, and it happens once.
func TestBarrierIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &slowDisk{takes: time.Second}
		noted := 0
		b := NewBarrier(disk.sync, BarrierOnFailure(func(error) { noted++ }))
		running := wait(t.Context(), b)
		synctest.Wait()
		require.Zero(t, b.Busy())
		time.Sleep(100 * time.Millisecond)
		require.Equal(t, 100*time.Millisecond, b.Busy())
		behind := wait(t.Context(), b)
		synctest.Wait()
		b.Fail(errDisk)
		require.ErrorIs(t, <-behind, errDisk)
		require.ErrorIs(t, <-running, ErrBarrierFailed, "its sync succeeds, and proves nothing any more")
		<-b.Failed()
		b.Fail(errors.New("later"))
		require.ErrorIs(t, b.Err(), errDisk, "the first reason stays")
		require.ErrorIs(t, b.Close(), errDisk)
		require.Equal(t, 2, noted)
		require.EqualValues(t, 1, disk.began.Load())
	})
	none := NoBarrier()
	require.NoError(t, none.Wait(t.Context()))
	none.Fail(errDisk)
	<-none.Failed()
	require.ErrorIs(t, none.Wait(t.Context()), errDisk)
	require.ErrorIs(t, none.Close(), errDisk)
}

func TestSyncFS(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("syncfs is Linux's")
	}
	dir := t.TempDir()
	f, err := OpenStateDir(dir)
	require.NoError(t, err)
	sync := SyncFS(f)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "x"), []byte("x"), 0o600))
	f = nil //nolint:ineffassign,wastedassign // the function alone must keep the file
	runtime.GC()
	runtime.GC()
	require.NoError(t, sync())

	closed, err := OpenStateDir(dir)
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	require.ErrorContains(t, SyncFS(closed)(), "closed file", "never another file's number")
}

func TestOpenStateDir(t *testing.T) {
	_, err := OpenStateDir(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = OpenStateDir(file)
	require.ErrorContains(t, err, "not a directory")
}

// A closed loop of 256 clients; ns/op is the time between two answers, and
// syncs/op how many of them share one.
func BenchmarkBarrier(b *testing.B) {
	for name, takes := range map[string]time.Duration{"free sync": 0, "1ms sync": time.Millisecond} {
		b.Run(name, func(b *testing.B) {
			barrier := NewBarrier(func() error { time.Sleep(takes); return nil })
			b.SetParallelism(256 / runtime.GOMAXPROCS(0))
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := barrier.Wait(b.Context()); err != nil {
						b.Error(err)
					}
				}
			})
			_ = barrier.Close()
			b.ReportMetric(float64(barrier.Stats().Syncs)/float64(b.N), "syncs/op")
		})
	}
}

func BenchmarkMarkDirty(b *testing.B) {
	barrier := NewBarrier(func() error { return nil })
	defer func() { _ = barrier.Close() }()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			barrier.MarkDirty()
		}
	})
}

package broker_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/test/harness"
)

// A disk that answers no write for a while: who waits is told within the bound,
// who comes later at once, nothing is accepted falsely, and it goes on when the
// disk does.
func TestAFrozenDisk(t *testing.T) {
	for _, mode := range []broker.Mode{broker.ModeBarrier, broker.ModeAlways} {
		t.Run(string(mode), func(t *testing.T) {
			const patience = 300 * time.Millisecond
			disk := newSmallDisk(t)
			b := open(t, disk.state(), func(o *broker.Options) { o.Durability = mode; broker.WithPatience(o, patience) })
			d := newDestination(delivered)
			drain(t, b, d, nil)
			accept(t, b, message("h", "0", "0"))
			status(t, b, settled)

			harness.Freeze(t, disk.dir)
			start := time.Now()
			_, err := b.Accept(t.Context(), message("h", "1", "1"))
			require.Equal(t, relay.CodeUnavailable, relay.CodeOf(err))
			require.Less(t, time.Since(start), 20*patience)
			require.Eventually(t, func() bool { return b.Ready(t.Context()) != nil }, 10*time.Second, time.Millisecond)
			require.ErrorContains(t, b.Ready(t.Context()), "does not answer")
			_, err = b.Accept(t.Context(), message("h", "2", "2"))
			require.ErrorContains(t, err, "does not answer; nothing was stored")
			require.Equal(t, relay.CodeUnavailable, relay.CodeOf(err))

			harness.Thaw(t, disk.dir)
			require.Eventually(t, func() bool { return b.Ready(t.Context()) == nil }, 10*time.Second, time.Millisecond)
			accept(t, b, message("h", "1", "1"))
			accept(t, b, message("h", "2", "2"))
			status(t, b, settled)
			require.Equal(t, []string{"0", "1", "2"}, d.bodies())
			balanced(t, b)
			require.Zero(t, b.Storage().Restarts)
		})
	}
}

// More requests than may wait for the disk are refused at once, and nothing of
// them is stored.
func TestTooManyWaitForTheDisk(t *testing.T) {
	d := &disk{begun: make(chan struct{}), release: make(chan error)}
	b := open(t, stateDir(t), func(o *broker.Options) {
		broker.WithFlush(o, d.flush)
		o.MaxWaiting = 3
	})
	d.held.Store(true)
	waiting := []<-chan answer{acceptLater(t, b, message("a", "", "x"))}
	<-d.begun
	for range 2 {
		waiting = append(waiting, acceptLater(t, b, message("a", "", "x")))
	}
	require.Eventually(t, func() bool { return b.Storage().Waiting == 3 }, 10*time.Second, time.Millisecond)
	_, err := b.Accept(t.Context(), message("a", "", "refused"))
	var refused *relay.Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, relay.CodeTooManyRequests, refused.Code)
	require.Positive(t, refused.RetryAfter)
	d.held.Store(false)
	d.release <- nil
	for _, w := range waiting {
		require.NoError(t, (<-w).err)
	}
	accept(t, b, message("a", "", "x"))
	require.EqualValues(t, 4, balanced(t, b).Accepted)
}

// A disk that is gone: the broker has failed for good, in every durability that
// promises anything; after it is back everything that was accepted is there.
func TestADiskThatIsGone(t *testing.T) {
	for _, mode := range []broker.Mode{broker.ModeBarrier, broker.ModeAlways} {
		t.Run(string(mode), func(t *testing.T) {
			disk := newSmallDisk(t)
			change := func(o *broker.Options) { o.Durability = mode }
			b := open(t, disk.state(), change)
			for i := range 20 {
				accept(t, b, message("h", fmt.Sprint(i), fmt.Sprint(i)))
			}
			harness.Break(t, disk.dir)
			_, err := b.Accept(t.Context(), message("h", "lost", "lost"))
			require.Equal(t, relay.CodeUnavailable, relay.CodeOf(err))
			select {
			case <-b.Failed():
			case <-time.After(10 * time.Second):
				require.Fail(t, "it has not failed", "%+v", b.Storage())
			}
			require.ErrorContains(t, b.Err(), "input/output error")
			b.Close()
			harness.Repair(t, disk.dir)
			b = open(t, disk.state(), change)
			for i := range 20 {
				require.True(t, accept(t, b, message("h", fmt.Sprint(i), fmt.Sprint(i))).Replayed, i)
			}
			balanced(t, b)
		})
	}
}

// An error that the kernel answers by making the filesystem read-only.
func TestAReadOnlyFilesystem(t *testing.T) {
	for _, mode := range []broker.Mode{broker.ModeBarrier, broker.ModeAlways, broker.ModeOS} {
		t.Run(string(mode), func(t *testing.T) {
			dir, reason := harness.Mount(t, "ext4", 64<<20, "errors=remount-ro")
			if reason != "" {
				t.Skip("a read-only filesystem is not shown here: ", reason)
			}
			b := open(t, dir+"/state", func(o *broker.Options) { o.Durability = mode })
			accept(t, b, message("h", "kept", "kept"))
			harness.Ail(t, dir)
			_, err := b.Accept(t.Context(), message("h", "lost", "lost"))
			require.Equal(t, relay.CodeUnavailable, relay.CodeOf(err))
			require.Eventually(t, func() bool { return b.Ready(t.Context()) != nil }, 10*time.Second, time.Millisecond)
			start := time.Now()
			_, err = b.Accept(t.Context(), message("h", "lost", "lost"))
			require.Equal(t, relay.CodeUnavailable, relay.CodeOf(err))
			require.Less(t, time.Since(start), 2*time.Second, "not after a timeout")
			if mode == broker.ModeOS {
				require.ErrorContains(t, err, "the filesystem of the state directory is read-only")
				require.NoError(t, b.Err())
			} else { // what was written last is lost
				<-b.Failed()
				require.ErrorContains(t, b.Err(), "read-only")
			}
			b.Close()
			harness.Repair(t, dir)
			b = open(t, dir+"/state", nil)
			again := accept(t, b, message("h", "kept", "kept"))
			require.True(t, again.Replayed || mode == broker.ModeOS) // os promises nothing of a disk
			balanced(t, b)
		})
	}
}

// A lease whose storing was not answered in time is read again: it may have been
// stored.
func TestALeaseThatWasNotConfirmed(t *testing.T) {
	b := open(t, stateDir(t), nil)
	d := newDestination(delivered)
	stop := drain(t, b, d, nil)
	accept(t, b, message("h", "", "1"))
	status(t, b, settled)
	stop()
	broker.LoseLease(b, queue)
	drain(t, b, d, nil)
	accept(t, b, message("h", "", "2"))
	status(t, b, settled)
	require.Equal(t, []string{"1", "2"}, d.bodies())
}

// A sync that takes longer than a request may wait: it is told that the outcome
// is unknown, later ones are refused at once, and when the disk is fast again the
// same key gets the receipt of what was stored.
func TestASlowSync(t *testing.T) {
	d := &disk{begun: make(chan struct{}), release: make(chan error)}
	b := open(t, stateDir(t), func(o *broker.Options) {
		broker.WithFlush(o, d.flush)
		broker.WithPatience(o, 200*time.Millisecond)
	})
	d.held.Store(true)
	slow := acceptLater(t, b, message("a", "slow", "x"))
	<-d.begun
	require.Equal(t, relay.CodeUnavailable, relay.CodeOf((<-slow).err))
	require.Eventually(t, func() bool { return b.Ready(t.Context()) != nil }, 10*time.Second, time.Millisecond)
	_, err := b.Accept(t.Context(), message("a", "", "refused"))
	require.ErrorContains(t, err, "nothing was stored")
	d.held.Store(false)
	d.release <- nil
	require.Eventually(t, func() bool { return b.Ready(t.Context()) == nil }, 10*time.Second, time.Millisecond)
	require.True(t, accept(t, b, message("a", "slow", "x")).Replayed)
	require.EqualValues(t, 1, balanced(t, b).Accepted)
}

// A device that writes 64 KiB a second, under load: every request is answered,
// with a receipt or with what to do, and nobody is told of a receipt that the
// journal does not hold.
func TestASlowDevice(t *testing.T) {
	disk := newSmallDisk(t)
	b := open(t, disk.state(), func(o *broker.Options) {
		broker.WithPatience(o, 300*time.Millisecond)
		o.MaxWaiting = 8
	})
	d := newDestination(delivered)
	drain(t, b, d, nil)
	stop, reason := harness.Throttle(t, disk.dir, 64<<10)
	if reason != "" {
		t.Skip("a slow device is not shown here: ", reason)
	}
	var mu sync.Mutex
	answers := map[relay.Code]int{}
	var kept []string
	var wg sync.WaitGroup
	for c := range 16 {
		wg.Go(func() {
			for i := range 10 {
				body := fmt.Sprint(c, ".", i)
				_, err := b.Accept(t.Context(), message("host"+fmt.Sprint(c), body, body))
				mu.Lock()
				if err == nil {
					kept = append(kept, body)
				} else {
					answers[relay.CodeOf(err)]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.Log(len(kept), "accepted; refused:", answers)
	for code := range answers {
		require.Contains(t, []relay.Code{relay.CodeUnavailable, relay.CodeTooManyRequests}, code)
	}
	stop()
	require.Eventually(t, func() bool { return b.Ready(t.Context()) == nil }, 30*time.Second, 5*time.Millisecond)
	accept(t, b, message("after", "", "after"))
	status(t, b, settled)
	require.Subset(t, d.bodies(), kept)
	balanced(t, b)
}

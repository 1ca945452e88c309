package broker_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/test/harness"
)

// smallDisk is a filesystem of the test's own, and a file that fills it.
type smallDisk struct {
	t       *testing.T
	dir     string
	ballast string
}

func newSmallDisk(t *testing.T) *smallDisk {
	t.Helper()
	dir, reason := harness.Mount(t, "ext4", 64<<20, "")
	if reason != "" {
		t.Skip("a really full disk is not shown here: ", reason)
	}
	return &smallDisk{t: t, dir: dir, ballast: filepath.Join(dir, "ballast")}
}

func (d *smallDisk) state() string { return filepath.Join(d.dir, "state") }

// fill leaves no block free.
func (d *smallDisk) fill() {
	d.t.Helper()
	f, err := os.OpenFile(d.ballast, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	require.NoError(d.t, err)
	defer func() { require.NoError(d.t, f.Close()) }()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			require.ErrorIs(d.t, err, syscall.ENOSPC)
			size /= 2
		}
	}
}

func (d *smallDisk) empty() {
	d.t.Helper()
	require.NoError(d.t, os.Remove(d.ballast))
}

// A disk that is really full, in each durability and met by each stream: what
// was accepted stays, senders are told at once, operators are answered, and when
// there is space the store goes on by itself with a ledger that balances.
func TestAFullDisk(t *testing.T) {
	for _, mode := range []broker.Mode{broker.ModeBarrier, broker.ModeAlways, broker.ModeOS} {
		t.Run(string(mode), func(t *testing.T) {
			disk := newSmallDisk(t)
			b := open(t, disk.state(), func(o *broker.Options) { o.Durability = mode })
			d := newDestination(delivered)
			drain(t, b, d, nil)
			n := 0
			for _, stream := range []string{"journal", "events", "dead letters", "keys", "key-value bucket"} {
				t.Run(stream, func(t *testing.T) {
					for range 20 {
						accept(t, b, message("h", fmt.Sprint("key ", n), fmt.Sprintf("%04d", n)))
						n++
					}
					disk.fill()
					if stream == "journal" {
						acceptUntilItFails(t, b, &n)
					} else {
						require.Error(t, broker.WriteTo(within(t, time.Second), b, queue, stream))
					}
					require.Eventually(t, func() bool { return b.Ready(t.Context()) != nil }, 10*time.Second, time.Millisecond)
					require.ErrorContains(t, b.Ready(t.Context()), "the disk is full")
					start := time.Now()
					_, err := b.Accept(t.Context(), message("h", "", "no"))
					require.Equal(t, relay.CodeStorageFull, relay.CodeOf(err))
					require.Less(t, time.Since(start), 2*time.Second, "not after a timeout")
					_, err = b.Queues(within(t, 5*time.Second))
					require.NoError(t, err)
					require.False(t, b.Storage().Writable)

					disk.empty()
					require.Eventually(t, func() bool { return b.Ready(t.Context()) == nil }, 20*time.Second, 5*time.Millisecond)
					accept(t, b, message("h", fmt.Sprint("key ", n), fmt.Sprintf("%04d", n)))
					n++
				})
			}
			require.GreaterOrEqual(t, b.Storage().Restarts, uint64(5))
			status(t, b, settled)
			require.IsIncreasing(t, d.bodies(), "each once and in order")
			require.Subset(t, d.bodies(), numbers(n))
			balanced(t, b)
		})
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func numbers(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%04d", i)
	}
	return all
}

// acceptUntilItFails goes on until the store meets the end of the disk; the
// message with which it does is sent again later, with its key, by the caller.
func acceptUntilItFails(t *testing.T, b *broker.Broker, n *int) {
	t.Helper()
	for {
		_, err := b.Accept(t.Context(), message("h", fmt.Sprint("key ", *n), fmt.Sprintf("%04d", *n)))
		if err != nil {
			require.Contains(t, []relay.Code{relay.CodeUnavailable, relay.CodeStorageFull}, relay.CodeOf(err), err)
			return
		}
		*n++
	}
}

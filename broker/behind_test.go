package broker_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

// slowDisk is one that can be held up.
type slowDisk struct {
	mu   sync.Mutex
	held chan struct{} // nil: it is not
}

func (d *slowDisk) flush() error {
	d.mu.Lock()
	held := d.held
	d.mu.Unlock()
	if held != nil {
		<-held
	}
	return nil
}

func (d *slowDisk) hold() (release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	held := make(chan struct{})
	d.held = held
	return sync.OnceFunc(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.held = nil
		close(held)
	})
}

// Who asks for an organization may wait no more, or in vain: what was stored of it
// gets its queues all the same, without another word.
func TestAnOrganizationThatNobodyWaitsForGetsItsQueue(t *testing.T) {
	for name, patience := range map[string]time.Duration{"the caller goes": time.Minute, "the disk is slow": 100 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			disk := &slowDisk{}
			b := open(t, stateDir(t), func(o *broker.Options) {
				broker.WithFlush(o, disk.flush)
				broker.WithGrowTimeout(o, patience)
			})
			release := disk.hold()
			defer release()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() {
				_, err := b.PutOrganization(ctx, relay.Organization{Name: "ACME", Enabled: true}, 0)
				done <- err
			}()
			if patience < time.Minute {
				require.Equal(t, relay.CodeUnavailable, relay.CodeOf(<-done))
			}
			cancel()
			release()
			if patience == time.Minute {
				require.NoError(t, <-done)
			}
			q := relay.Queue{Organization: "ACME", Destination: queue.Destination}
			require.Eventually(t, func() bool { return b.Known(q) }, 20*time.Second, 10*time.Millisecond)
			accept(t, b, messageFor("ACME", "h", "x"))
			_, revision, err := b.Organization(t.Context(), "ACME")
			require.NoError(t, err)
			putOrganization(t, b, relay.Organization{Name: "ACME", Weight: 2}, revision)
		})
	}
}

// The end of the relay does not wait for a change that waits for the disk.
func TestTheEndDoesNotWaitForAnOrganization(t *testing.T) {
	disk := &slowDisk{}
	b := open(t, stateDir(t), func(o *broker.Options) { broker.WithFlush(o, disk.flush) })
	release := disk.hold()
	defer release()
	done := make(chan error, 1)
	go func() {
		_, err := b.PutOrganization(t.Context(), relay.Organization{Name: "ACME", Enabled: true}, 0)
		done <- err
	}()
	require.Eventually(t, func() bool { return broker.Stored(t.Context(), b, "ACME") }, 10*time.Second, 5*time.Millisecond)
	closed := make(chan struct{})
	go func() { b.Close(); close(closed) }()
	select {
	case err := <-done:
		require.Equal(t, relay.CodeUnavailable, relay.CodeOf(err))
	case <-time.After(20 * time.Second):
		require.FailNow(t, "the change is waited for")
	}
	release()
	<-closed
}

// The checkpoints of many organizations are kept together: each by itself would wait
// for the disk twice, and everything else behind it.
func TestCheckpointsOfManyOrganizationsShareTheDisk(t *testing.T) {
	const organizations = 40
	dir := stateDir(t)
	var flushes atomic.Int64
	b := open(t, dir, func(o *broker.Options) { broker.WithFlush(o, func() error { flushes.Add(1); return nil }) })
	for i := range organizations {
		name := fmt.Sprint("org ", i)
		putOrganization(t, b, relay.Organization{Name: name, Enabled: true}, 0)
		accept(t, b, messageFor(name, "h", "x"))
	}
	before := flushes.Load()
	for i := range organizations {
		q := relay.Queue{Organization: fmt.Sprint("org ", i), Destination: queue.Destination}
		require.NoError(t, broker.Record(t.Context(), b, q, relay.Event{Sequence: 1, ID: relay.FreshID(q), State: relay.Delivered, Epoch: 1, Run: 1}))
	}
	require.NoError(t, broker.Followed(t.Context(), b, queue))
	b.Close()
	require.Less(t, flushes.Load()-before, int64(organizations))

	b = open(t, dir, nil)
	all, err := b.Queues(t.Context())
	require.NoError(t, err)
	delivered := 0
	for _, q := range all {
		delivered += int(q.Delivered)
	}
	require.Equal(t, organizations, delivered)
}

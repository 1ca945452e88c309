package broker_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/test/harness"
)

// A disk that is full in the middle of an upload: its sender is told, nothing of it
// stays, and the store is not hurt.
func TestAFullDiskDuringAnUpload(t *testing.T) {
	disk := newSmallDisk(t)
	b := open(t, disk.state(), nil)
	accept(t, b, message("h", "", "before"))
	_, err := b.Accept(t.Context(), incoming("h", "", &repeated{text: largeText(1 << 20), times: 80}))
	require.Equal(t, relay.CodeStorageFull, relay.CodeOf(err))
	require.ErrorContains(t, err, "disk is full")
	require.Empty(t, broker.ObjectFiles(b, queue))
	left, err := os.ReadDir(disk.state() + "/objects/" + queue.Token())
	require.NoError(t, err)
	require.Empty(t, left)
	require.Eventually(t, func() bool {
		_, err := b.Accept(t.Context(), message("h", "k", largeText(2<<20)))
		return err == nil
	}, 20*time.Second, 10*time.Millisecond)
	drain(t, b, newCollector(), nil)
	status(t, b, settled)
	balanced(t, b)
}

// repeated is a text over and over.
type repeated struct {
	text  string
	times int
	rest  *strings.Reader
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.rest == nil || r.rest.Len() == 0 {
		if r.times--; r.times < 0 {
			return 0, os.ErrDeadlineExceeded // the test fails before
		}
		r.rest = strings.NewReader(r.text)
	}
	return r.rest.Read(p)
}

// A disk that stops answering in the middle of an upload: its sender waits no
// longer than for any other message, and what the disk does of it later is undone.
func TestAFrozenDiskDuringAnUpload(t *testing.T) {
	const patience = 300 * time.Millisecond
	disk := newSmallDisk(t)
	b := open(t, disk.state(), func(o *broker.Options) { broker.WithPatience(o, patience) })
	slow := &gated{text: largeText(3 << 20), open: make(chan struct{}), at: make(chan struct{}, 1)}
	done := make(chan error, 1)
	go func() {
		_, err := b.Accept(context.Background(), incoming("h", "", slow))
		done <- err
	}()
	<-slow.at
	harness.Freeze(t, disk.dir)
	start := time.Now()
	close(slow.open)
	require.Equal(t, relay.CodeUnavailable, relay.CodeOf(<-done))
	require.Less(t, time.Since(start), 20*patience)
	harness.Thaw(t, disk.dir)
	require.Eventually(t, func() bool { return len(broker.ObjectFiles(b, queue)) == 0 }, 10*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return b.Ready(t.Context()) == nil }, 10*time.Second, time.Millisecond)
	accept(t, b, message("h", "", largeText(2<<20)))
	drain(t, b, newCollector(), nil)
	status(t, b, settled)
	balanced(t, b)
}

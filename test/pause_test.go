package test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/test/harness"
)

// A queue is paused while a load runs: attempts stop, acceptance goes on, also
// over a SIGKILL of every process. Resumed, everything is delivered, once and in
// order.
func TestAPauseUnderLoad(t *testing.T) {
	inBothForms(t, func(t *testing.T, start func(...string) *form) {
		f := start()
		load := &harness.Load{URL: f.url, Clients: 8, Hosts: 4, Pause: 20 * time.Millisecond}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		done := make(chan struct{})
		go func() {
			defer close(done)
			load.Run(ctx)
		}()
		f.awaitRequests(200, 20*time.Second)

		_, errs, code := harness.Command(t, "queue", "pause", "default/foreman", "--reason", "an upgrade", "--admin-socket", f.socket)
		require.Zero(t, code, errs)
		sent := f.awaitSilence(20 * time.Second)
		for _, p := range append(f.drains, f.edge) {
			p.Kill()
			p.Again()
		}
		f.awaitReady()
		s := harness.AwaitQueue(t, f.socket, 20*time.Second, func(s relay.QueueStatus) bool { return s.Drain != "" })
		require.True(t, s.Paused)
		require.Equal(t, "an upgrade", s.Pause.Reason)
		require.Equal(t, sent, f.awaitSilence(20*time.Second), "nothing was delivered while the queue was paused")

		_, errs, code = harness.Command(t, "queue", "resume", "default/foreman", "--admin-socket", f.socket)
		require.Zero(t, code, errs)
		f.awaitRequests(sent+200, 20*time.Second)
		stop()
		<-done
		harness.AwaitQueue(t, f.socket, 30*time.Second, harness.Drained)
		f.verify(load.Answered())
		harness.Audit(t, f.socket)
	})
}

// awaitSilence waits until nothing came to the stand-in while a hundred more
// were accepted, and returns how many had come.
func (f *form) awaitSilence(within time.Duration) int {
	f.t.Helper()
	for deadline := time.Now().Add(within); time.Now().Before(deadline); {
		sent := len(f.foreman.Requests())
		accepted := harness.Queues(f.t, f.socket)[0].Accepted
		harness.AwaitQueue(f.t, f.socket, within, func(s relay.QueueStatus) bool { return s.Accepted >= accepted+100 })
		if len(f.foreman.Requests()) == sent {
			return sent
		}
	}
	require.Fail(f.t, "attempts do not stop", "within %v", within)
	return 0
}

package test

import (
	"context"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/test/harness"
)

// takeoverAttempt is the longest attempt of the drains in this test.
const takeoverAttempt = 3 * time.Second

// takeoverBound is how long a takeover may take: the lease runs out, the longest
// attempt of the old holder is waited out, and the next renewal begins.
const takeoverBound = relay.LeaseTTL + takeoverAttempt + 3*time.Second

// Two drains. The active one is frozen past its lease: the other goes on within
// the bound. Woken again, the first sends nothing but what it had in flight.
// Then the second is killed, and the first takes over.
func TestTakeover(t *testing.T) {
	t.Parallel() // most of its time it waits
	f := startForm(t, true, "--attempt-timeout", takeoverAttempt.String())
	one := f.drains[0]
	harness.AwaitQueue(t, f.socket, 20*time.Second, func(s relay.QueueStatus) bool { return s.Drain != "" })
	two := f.startDrain("--attempt-timeout", takeoverAttempt.String())

	load := &harness.Load{URL: f.url, Clients: 16, Hosts: 4, Pause: 40 * time.Millisecond}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		load.Run(ctx)
	}()
	f.awaitRequests(500, 20*time.Second)

	epoch := harness.Queues(t, f.socket)[0].Epoch
	f.passesOn(epoch, "one is frozen", func() { one.Signal(syscall.SIGSTOP) })
	one.Signal(syscall.SIGCONT)
	f.awaitRequests(len(f.foreman.Requests())+500, 20*time.Second) // both are awake, and the load goes on
	again := f.duplicates()
	t.Logf("sent twice: %d", again)
	require.LessOrEqual(t, again, relay.DefaultGateOptions().Concurrency, "at most what was in flight at the freeze")

	f.passesOn(epoch+1, "two is killed", two.Kill)
	stop()
	<-done
	harness.AwaitQueue(t, f.socket, 60*time.Second, harness.Drained)
	f.verify(load.Answered())
	require.LessOrEqual(t, f.duplicates(), 2*relay.DefaultGateOptions().Concurrency)
	harness.Audit(t, f.socket)
}

// passesOn does something to the holder of the lease and waits until another
// holds it and delivers.
func (f *form) passesOn(epoch uint64, what string, do func()) {
	f.t.Helper()
	do()
	start := time.Now()
	harness.AwaitQueue(f.t, f.socket, takeoverBound, func(s relay.QueueStatus) bool { return s.Epoch > epoch && s.Drain != "" })
	before := len(f.foreman.Requests())
	f.awaitRequests(before+1, takeoverBound-time.Since(start))
	f.t.Logf("%s: another drain delivers after %v (bound %v)", what, time.Since(start).Round(time.Millisecond), takeoverBound)
}

// duplicates counts what came to the stand-in and changed nothing.
func (f *form) duplicates() int {
	s := f.foreman.Stats()
	return s.Requests - s.Counted
}

// A drain that is started again on its own state directory does not wait: its
// lock proves that the one before is gone.
func TestARestartedDrainDoesNotWait(t *testing.T) {
	f := startForm(t, true)
	f.fill(1, 1)
	f.awaitRequests(1, 20*time.Second)
	f.drains[0].Kill()
	f.drains[0].Again()
	start := time.Now()
	f.fill(2, 2)
	f.awaitRequests(4, relay.LeaseTTL/2)
	t.Logf("delivered %v after the kill", time.Since(start).Round(time.Millisecond))

	dir := filepath.Join(t.TempDir(), "drain")
	args := []string{"drain", "--broker", "tls://" + f.broker, "--broker-ca", f.cert("ca.crt"), "--broker-cert", f.cert("drain.crt"),
		"--broker-key", f.cert("drain.key"), "--foreman-url", f.foreman.URL(), "--state-dir", dir}
	first := harness.Start(t, args...)
	require.Eventually(t, func() bool { return len(first.Log()) > 0 }, 10*time.Second, 10*time.Millisecond)
	_, errs, code := harness.Command(t, args...)
	require.Equal(t, 1, code)
	require.Contains(t, errs, fmt.Sprintf("is held by process %d", first.Pid()))
}

package test

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	standin "github.com/theforeman/foreman-relay/test/foreman"
	"github.com/theforeman/foreman-relay/test/harness"
)

// kills is how often each process of a form is killed.
const kills = 20

// Load from 32 clients while edge and drain are killed at random moments, every
// other time between Foreman's answer and the settlement. Everything that was
// answered is delivered, once and in order; nothing is pending soon after the
// last kill; the ledger balances.
func TestKills(t *testing.T) {
	inBothForms(t, func(t *testing.T, start func(...string) *form) {
		f := start("--attempt-timeout", "5s")
		load := &harness.Load{URL: f.url, Clients: 32, Hosts: 3, Pause: 50 * time.Millisecond}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			load.Run(ctx)
		}()
		victims := append([]*harness.Process{f.edge}, f.drains...)
		seed := time.Now().UnixNano()
		t.Log("seed", seed)
		random := rand.New(rand.NewPCG(uint64(seed), 0))
		for i := range kills * len(victims) {
			victim := victims[i%len(victims)]
			time.Sleep(time.Duration(200+random.IntN(500)) * time.Millisecond) // the random moment itself
			if i/len(victims)%2 == 0 {
				f.killAtAnswer(victim)
			} else {
				victim.Kill()
			}
			victim.Again()
		}
		lastKill := time.Now()
		f.awaitReady()
		stop()
		<-done
		harness.AwaitQueue(t, f.socket, 30*time.Second-time.Since(lastKill), harness.Drained)
		answered, refused := load.Total()
		t.Logf("%d reports answered, %d requests not; %d counted by Foreman of %d sent to it; pending 0 after %v",
			answered, refused, f.foreman.Stats().Counted, f.foreman.Stats().Requests, time.Since(lastKill).Round(time.Millisecond))
		require.Greater(t, answered, 1000, "the load is one")
		f.verify(load.Answered())
		harness.Audit(t, f.socket)
	})
}

// killAtAnswer kills a process in the moment in which Foreman has counted a
// report, and before its answer is written.
func (f *form) killAtAnswer(victim *harness.Process) {
	var fired atomic.Bool
	killed := make(chan struct{})
	f.foreman.OnCounted(func(*standin.Request) {
		if fired.CompareAndSwap(false, true) {
			victim.KillNow()
			close(killed)
		}
	})
	select {
	case <-killed:
	case <-time.After(5 * time.Second): // nothing is delivered at this moment: the drain waits for its lease
	}
	f.foreman.OnCounted(nil)
	victim.Kill()
}

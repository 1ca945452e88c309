package broker_test

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

// BenchmarkABacklogOfFacts is a backlog of b.N facts of a thousand hosts: how long
// the edge needs to read it after a start, and the drain to settle it. A million:
// -bench ABacklogOfFacts -benchtime 1000000x.
func BenchmarkABacklogOfFacts(b *testing.B) {
	const hosts = 1000
	dir := filepath.Join(b.TempDir(), "state")
	openOne := func() *broker.Broker {
		br, err := broker.Open(b.Context(), broker.Options{StateDir: dir, Durability: broker.ModeOS, Queues: []relay.Queue{queue}, ReserveBytes: -1,
			Latest: []string{"facts"}, Log: zerolog.Nop()})
		require.NoError(b, err)
		return br
	}
	br := openOne()
	var clients sync.WaitGroup
	for c := range 64 {
		clients.Go(func() {
			for i := c; i < b.N; i += 64 {
				if _, err := br.Accept(b.Context(), facts(fmt.Sprint("host", i%hosts), fmt.Sprint(i))); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	clients.Wait()
	br.Close()

	begun := time.Now()
	br = openOne()
	b.Cleanup(br.Close)
	opened := time.Since(begun)
	require.Eventually(b, func() bool { return broker.Learned(br, queue) }, time.Minute, time.Millisecond)
	known := time.Since(begun)
	c, err := br.Connect(queue.Destination)
	require.NoError(b, err)
	d := newDestination(delivered)
	b.ResetTimer()
	stop := runDrain(b, c, d, compacting)
	defer stop()
	for {
		s, err := br.Queue(b.Context(), queue)
		require.NoError(b, err)
		if s.Pending == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond) // only what is settled in all is measured
	}
	b.StopTimer()
	require.Len(b, d.bodies(), min(hosts, b.N), "one of each host")
	b.ReportMetric(opened.Seconds(), "s-open")
	b.ReportMetric(known.Seconds(), "s-until-known")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "settled/s")
}

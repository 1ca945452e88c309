package cmd

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
)

func TestStackStopsLastInFirstOutAndOnce(t *testing.T) {
	var order []string
	var log bytes.Buffer
	s := &stack{log: zerolog.New(&log)}
	for _, name := range []string{"lock", "broker", "edge"} {
		s.push(name, time.Second, func(context.Context) { order = append(order, name) })
	}
	s.stop()
	s.stop()
	require.Equal(t, []string{"edge", "broker", "lock"}, order)
	require.Equal(t, 3, bytes.Count(log.Bytes(), []byte(`"message":"stopped"`)))
	require.Contains(t, log.String(), `"step":"broker"`)
}

func TestAStepIsToldItsBoundAndLeftBehindAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := &stack{log: zerolog.New(&log)}
		stuck, reached := make(chan struct{}), false
		s.push("next", time.Second, func(context.Context) { reached = true })
		s.push("stuck", 3*time.Second, func(context.Context) { <-stuck })
		s.push("heedful", 5*time.Second, func(ctx context.Context) { <-ctx.Done() })
		start := time.Now()
		s.stop()
		require.Equal(t, 5*time.Second+3*time.Second+leave, time.Since(start))
		require.True(t, reached)
		require.Contains(t, log.String(), `"level":"warn","step":"stuck"`)
		require.NotContains(t, log.String(), `"level":"warn","step":"heedful"`)
		close(stuck)
	})
}

func TestNothingIsWaitedForLongOnceTheDiskHasFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stack{log: zerolog.Nop()}
		s.push("drain", time.Minute, func(ctx context.Context) { <-ctx.Done() })
		s.most = hurried
		start := time.Now()
		s.stop()
		require.Equal(t, hurried, time.Since(start))
	})
}

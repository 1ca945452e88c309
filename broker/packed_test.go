package broker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

// With very many messages that wait the checkpoint is stored still, so that the
// journal is trimmed where its queue is full; a start and a drain read it.
func TestACheckpointOfManyThatWait(t *testing.T) {
	dir := stateDir(t)
	b := open(t, dir, func(o *broker.Options) { o.Durability = broker.ModeOS })
	const n = 70_000
	messages := make([]*relay.Message, n)
	for i := range messages {
		messages[i] = message("", "", "")
	}
	next := time.Now().Add(time.Hour)
	require.NoError(t, broker.StockWaiting(t.Context(), b, messages, next))
	status(t, b, func(s relay.QueueStatus) bool { return s.Waiting == n })
	require.NoError(t, broker.Checkpoint(t.Context(), b, queue))
	require.False(t, broker.Dirty(b, queue))
	b.Close()

	b = open(t, dir, func(o *broker.Options) { o.Durability = broker.ModeOS })
	require.EqualValues(t, n, status(t, b, func(relay.QueueStatus) bool { return true }).Waiting)
	c, err := b.Connect(queue.Destination)
	require.NoError(t, err)
	defer c.Close()
	j, err := c.Journal(queue)
	require.NoError(t, err)
	ledger, err := j.Ledger(t.Context())
	require.NoError(t, err)
	for _, sequence := range []uint64{1, n / 2, n} {
		w, ok := ledger.Waiting(sequence)
		require.True(t, ok && w.Attempts == 1 && w.Next.Equal(next.Truncate(time.Millisecond)), fmt.Sprint(sequence, w))
	}
}

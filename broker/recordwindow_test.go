package broker_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

// The record is trimmed to its window in a queue that is never at rest too: here an
// event comes with every barrier, and so between a checkpoint and its being on the
// disk.
func TestTheRecordOfABusyQueueIsTrimmed(t *testing.T) {
	var b *broker.Broker
	var id atomic.Pointer[string]
	n := 0
	b = open(t, stateDir(t), func(o *broker.Options) {
		o.RecordWindow = time.Second
		broker.WithFlush(o, func() error {
			if id.Load() == nil {
				return nil
			}
			n++
			err := broker.Record(t.Context(), b, queue, relay.Event{Sequence: 1, ID: *id.Load(), State: relay.Waiting, Attempt: n,
				Next: time.Now().Add(time.Hour)})
			if err == nil {
				err = broker.Followed(t.Context(), b, queue)
			}
			return err
		})
	})
	r := accept(t, b, message("host", "", "1"))
	id.Store(&r.ID)
	require.Eventually(t, func() bool {
		first, err := broker.FirstEvent(t.Context(), b, queue.Destination)
		return err == nil && first > 1
	}, 20*time.Second, 50*time.Millisecond)
	id.Store(nil)
	balanced(t, b)
}

package broker_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

// A power cut has taken the end of a journal, and there is no space to fill it:
// the start does not wait for that, and it is done when there is space.
func TestALostTailOnAFullDisk(t *testing.T) {
	disk := newSmallDisk(t)
	b := open(t, disk.state(), nil)
	accept(t, b, message("a", "", "1"))
	require.NoError(t, broker.Record(t.Context(), b, queue, relay.Event{Sequence: 3, ID: relay.FreshID(queue), State: relay.Delivered, Attempt: 1}))
	b.Close()
	disk.fill()

	b = open(t, disk.state(), nil)
	require.ErrorContains(t, b.Ready(t.Context()), "the disk is full")
	disk.empty()
	require.Eventually(t, func() bool { return b.Ready(t.Context()) == nil }, 20*time.Second, 5*time.Millisecond)
	accept(t, b, message("a", "", "4"))
	d := newDestination(delivered)
	drain(t, b, d, nil)
	s := status(t, b, settled)
	require.Equal(t, []string{"1", "4"}, d.bodies())
	require.Equal(t, []uint64{4, 3, 1}, []uint64{s.Accepted, s.Delivered, s.Discarded})
	balanced(t, b)
}

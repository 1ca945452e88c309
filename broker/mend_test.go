package broker_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

// A power cut took messages that were never answered, but not the events about
// them: their sequences are not given to others, which would pass for settled.
func TestALostTailIsFilled(t *testing.T) {
	dir := stateDir(t)
	b := open(t, dir, nil)
	accept(t, b, message("a", "", "1"))
	for _, e := range []relay.Event{
		{Sequence: 2, ID: relay.FreshID(queue), State: relay.Delivered, Attempt: 1},
		{Sequence: 4, ID: relay.FreshID(queue), State: relay.Waiting, Attempt: 1},
	} { // of sequences 2 to 4 nothing is there
		require.NoError(t, broker.Record(t.Context(), b, queue, e))
	}
	b.Close()

	b = open(t, dir, nil)
	for _, body := range []string{"5", "6"} {
		accept(t, b, message("a", "", body))
	}
	d := newDestination(delivered)
	drain(t, b, d, nil)
	s := status(t, b, settled)
	require.Equal(t, []string{"1", "5", "6"}, d.bodies())
	require.Equal(t, []uint64{6, 4, 2}, []uint64{s.Accepted, s.Delivered, s.Discarded})
	balanced(t, b)
}

// A start that was cut off between the filling of a place and the record of it:
// the next one completes that, and nothing is delivered in the place of what was
// lost.
func TestFillingIsFinishedAfterACrash(t *testing.T) {
	dir := stateDir(t)
	b := open(t, dir, nil)
	accept(t, b, message("a", "", "1"))
	require.NoError(t, broker.Record(t.Context(), b, queue, relay.Event{Sequence: 3, ID: relay.FreshID(queue), State: relay.Waiting, Attempt: 1}))
	for range 2 {
		void := message("", "", "")
		void.Route = broker.VoidRoute
		require.NoError(t, broker.StoreUnnoticed(t.Context(), b, void))
	}
	b.Close()

	b = open(t, dir, nil)
	accept(t, b, message("a", "", "4"))
	d := newDestination(delivered)
	drain(t, b, d, nil)
	s := status(t, b, settled)
	require.Equal(t, []string{"1", "4"}, d.bodies())
	require.Equal(t, []uint64{4, 2, 2}, []uint64{s.Accepted, s.Delivered, s.Discarded})
	balanced(t, b)
}

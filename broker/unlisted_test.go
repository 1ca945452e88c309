package broker_test

import (
	"bytes"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

// A destination that is taken out of the configuration takes nothing with it, and
// what waits for it is told of at each start; back again, it is as it was.
func TestWhatWaitsForADestinationThatWasTakenOut(t *testing.T) {
	dir, pulp := stateDir(t), relay.Queue{Organization: queue.Organization, Destination: "pulp"}
	both := func(o *broker.Options) { o.Queues = []relay.Queue{queue, pulp} }
	b := open(t, dir, both)
	accept(t, b, message("host", "", "to Foreman"))
	var last string
	for _, body := range []string{"one", "two", "three"} {
		m := message("host", "", body)
		m.Queue, m.ID = pulp, relay.FreshID(pulp)
		last = accept(t, b, m).ID
	}
	err := b.Cancel(t.Context(), last)
	require.NoError(t, err)
	b.Close()

	told := func(change func(*broker.Options)) string {
		var log bytes.Buffer
		b := open(t, dir, func(o *broker.Options) {
			if change != nil {
				change(o)
			}
			o.Log = zerolog.New(zerolog.SyncWriter(&log)).Level(zerolog.WarnLevel)
		})
		b.Close()
		return log.String()
	}
	text := told(nil)
	require.Contains(t, text, pulp.String())
	require.Contains(t, text, `"waiting":2`)
	require.NotContains(t, text, queue.String())
	require.Empty(t, told(both))

	b = open(t, dir, both)
	s, err := b.Queue(t.Context(), pulp)
	require.NoError(t, err)
	require.EqualValues(t, 2, s.Pending)
	balanced(t, b)
}

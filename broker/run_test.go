package broker_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

// copyState is a state directory as a power cut at this moment would leave it:
// nothing may be under way.
func copyState(t *testing.T, dir string) string {
	t.Helper()
	as := stateDir(t)
	require.NoError(t, os.CopyFS(as, os.DirFS(dir)))
	require.NoError(t, os.Chmod(as, 0o700))
	return as
}

// Sequence 2 was given twice: to a message that a power cut took, and to its
// successor. What a drain records late of the first one is refused by the edge's
// account, by the drain's own reading and by the audit; what it records late of
// a message that is still there counts.
func TestAnEventOfAnEarlierRunAboutALostMessage(t *testing.T) {
	dir := stateDir(t)
	b := open(t, dir, nil)
	kept := accept(t, b, message("a", "", "kept"))
	cut := copyState(t, dir)
	lost := accept(t, b, message("a", "", "lost"))
	b.Close()

	b = open(t, cut, nil)
	next := accept(t, b, message("a", "", "next"))
	for _, e := range []relay.Event{
		{Sequence: 2, ID: lost.ID, State: relay.Delivered, Attempt: 1, Epoch: 1, Run: 1},
		{Sequence: 2, ID: lost.ID, State: relay.Waiting, Attempt: 9, Epoch: 1, Run: 1},
		{Sequence: 1, ID: kept.ID, State: relay.Delivered, Attempt: 1, Epoch: 1, Run: 1},
	} {
		require.NoError(t, broker.Record(t.Context(), b, queue, e))
	}
	s := status(t, b, func(s relay.QueueStatus) bool { return s.Delivered > 0 })
	require.Equal(t, []uint64{2, 1, 1, 0}, []uint64{s.Accepted, s.Delivered, s.Pending, s.Waiting})
	m, err := b.Message(t.Context(), next.ID)
	require.NoError(t, err)
	require.Equal(t, relay.Queued, m.State)

	d := newDestination(delivered)
	stop := drain(t, b, d, nil)
	status(t, b, settled)
	require.Equal(t, []string{"next"}, d.bodies())
	r := balanced(t, b)
	require.EqualValues(t, 2, r.Refused)
	stop()
	b.Close()

	b = open(t, cut, nil) // and as it is read again, from a checkpoint
	require.EqualValues(t, 2, status(t, b, settled).Delivered)
	require.EqualValues(t, 2, balanced(t, b).Refused)
}

// A message that was lost and is sent again with its key may get its id and its
// sequence too. What is recorded late of the first one is not counted either: at
// any time, by any reader, the answer is the same.
func TestAnEventOfAnEarlierRunAboutTheSameKey(t *testing.T) {
	dir := stateDir(t)
	b := open(t, dir, nil)
	accept(t, b, message("a", "", "kept"))
	cut := copyState(t, dir)
	lost := accept(t, b, message("a", "key", "lost"))
	b.Close()
	b = open(t, cut, nil)
	require.Equal(t, lost.ID, accept(t, b, message("a", "key", "lost")).ID)
	require.NoError(t, broker.Record(t.Context(), b, queue, relay.Event{Sequence: 2, ID: lost.ID, State: relay.Delivered, Attempt: 1, Epoch: 1, Run: 1}))
	require.EqualValues(t, 1, balanced(t, b).Refused)
	m, err := b.Message(t.Context(), lost.ID)
	require.NoError(t, err)
	require.Equal(t, relay.Queued, m.State)
	d := newDestination(delivered)
	drain(t, b, d, nil)
	status(t, b, settled)
	require.Equal(t, []string{"kept", "lost"}, d.bodies())
}

// The same with everything real: a far drain is in the middle of an attempt when
// the edge loses power and the message, lives on, and records it late.
func TestAFarDrainThatOutlivesItsEdge(t *testing.T) {
	b, certs := listening(t)
	dir := broker.StateDir(b)
	begun, answer := make(chan struct{}), make(chan struct{})
	d := newDestination(func(_ int, m *relay.Message) relay.Result {
		if string(m.Body) == "lost" {
			close(begun)
			<-answer
		}
		return delivered(0, m)
	})
	runDrain(t, dial(t, b, certs, "drain"), d, nil)
	accept(t, b, message("a", "", "kept"))
	status(t, b, settled)
	cut := copyState(t, dir)
	lost := accept(t, b, message("b", "", "lost"))
	<-begun
	address := b.Address()
	b.Close()

	b = open(t, cut, func(o *broker.Options) {
		o.Listen = &broker.ListenOptions{Address: address, CertFile: filepath.Join(certs, "edge.crt"),
			KeyFile: filepath.Join(certs, "edge.key"), ClientCAFile: filepath.Join(certs, "ca.crt")}
	})
	next := accept(t, b, message("c", "", "next"))
	close(answer)
	s := status(t, b, settled)
	require.Equal(t, []uint64{2, 2}, []uint64{s.Accepted, s.Delivered})
	require.Equal(t, []string{"kept", "lost", "next"}, d.bodies())
	r := balanced(t, b)
	require.EqualValues(t, 1, r.Refused)
	require.Equal(t, []any{uint64(2), lost.ID}, []any{r.Notes[0].Sequence, r.Notes[0].ID})
	m, err := b.Message(t.Context(), next.ID)
	require.NoError(t, err)
	require.Equal(t, relay.Delivered, m.State)
}

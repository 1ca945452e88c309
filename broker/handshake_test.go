package broker_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

var _ relay.Handshakes = (*broker.Broker)(nil)

func TestTheHandshakeIsKept(t *testing.T) {
	dir := stateDir(t)
	b := open(t, dir, nil)
	none, revision, err := b.Handshake(t.Context())
	require.NoError(t, err)
	require.Zero(t, revision)
	require.Zero(t, none.Revision)

	r := relay.HandshakeRecord{Revision: 1, Document: relay.Handshake{Version: 1,
		Organizations: map[string]relay.HandshakeOrganization{"ACME/R & D": {Weight: 3}}}, Pending: []string{"ACME/R & D"}}
	first, err := b.PutHandshake(t.Context(), r, 0)
	require.NoError(t, err)
	for _, seen := range []uint64{0, first + 1} {
		_, err = b.PutHandshake(t.Context(), relay.HandshakeRecord{Revision: 9}, seen)
		require.Equal(t, relay.CodeConflict, relay.CodeOf(err), "%v", err)
	}
	b.Close()
	b = open(t, dir, nil)
	got, again, err := b.Handshake(t.Context())
	require.NoError(t, err)
	require.Equal(t, first, again)
	require.Equal(t, r, got)
	r.Revision, r.Pending = 2, nil
	second, err := b.PutHandshake(t.Context(), r, first)
	require.NoError(t, err)
	require.Greater(t, second, first)
}

// What the document asks for beside the configuration is there from the start: for
// organizations that are stored, for those that come later, and for a drain.
func TestQueuesOfTheDocumentAreJoined(t *testing.T) {
	dir, hook := stateDir(t), func(organization string) relay.Queue {
		return relay.Queue{Organization: organization, Destination: "hook"}
	}
	joined := func(o *broker.Options) {
		o.Joined = func(h relay.Handshake) (all []relay.Queue) {
			for name := range h.Destinations {
				all = append(all, queue, relay.Queue{Organization: queue.Organization, Destination: name})
			}
			return all
		}
	}
	b := open(t, dir, joined)
	_, err := b.PutHandshake(t.Context(), relay.HandshakeRecord{Revision: 1, Document: relay.Handshake{Version: 1, Destinations: map[string]relay.HandshakeDestination{"hook": {}}}}, 0)
	require.NoError(t, err)
	_, err = b.PutOrganization(t.Context(), relay.Organization{Name: "before", Enabled: true}, 0)
	require.NoError(t, err)
	require.False(t, b.Known(hook(queue.Organization)), "not while it runs")
	b.Close()

	b = open(t, dir, joined)
	_, err = b.PutOrganization(t.Context(), relay.Organization{Name: "later", Enabled: true}, 0)
	require.NoError(t, err)
	c, err := b.Connect("hook")
	require.NoError(t, err)
	t.Cleanup(c.Close)
	d := newDestination(delivered)
	runDrain(t, c, d, nil)
	for _, organization := range []string{queue.Organization, "before", "later"} {
		m := message("host", "", organization)
		m.Queue = hook(organization)
		m.ID = relay.FreshID(m.Queue)
		accept(t, b, m)
	}
	require.ElementsMatch(t, []string{queue.Organization, "before", "later"}, d.await(t, 3))
	balanced(t, b)
}

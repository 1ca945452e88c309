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

package broker_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

func refusedAsFull(t *testing.T, b *broker.Broker, m *relay.Message) {
	t.Helper()
	_, err := b.Accept(t.Context(), m)
	require.Equal(t, relay.CodeQuotaFull, relay.CodeOf(err), "%v", err)
	var refused *relay.Error
	require.ErrorAs(t, err, &refused)
	require.Positive(t, refused.RetryAfter)
}

// As many messages may wait as the quota of the organization says; what is
// delivered makes room, a restart forgets nothing, and another organization has
// nothing to do with it.
func TestQuotaOfMessages(t *testing.T) {
	dir := stateDir(t)
	b := open(t, dir, nil)
	acme := relay.Organization{Name: "ACME", Enabled: true, Quota: relay.OrganizationQuota{Messages: 3}}
	revision := putOrganization(t, b, acme, 0)
	keyed := messageFor("ACME", "h", "keyed")
	keyed.Key = "k"
	keyed.ID = relay.KeyedID(keyed.Queue, keyed.Key)
	accept(t, b, keyed)
	accept(t, b, messageFor("ACME", "h", "second"))
	accept(t, b, messageFor("ACME", "h", "third"))
	refusedAsFull(t, b, messageFor("ACME", "h", "fourth"))
	require.True(t, accept(t, b, keyed).Replayed, "what is stored already needs no room")
	other := *keyed
	other.Key = "another"
	other.ID = relay.KeyedID(other.Queue, other.Key)
	refusedAsFull(t, b, &other)
	accept(t, b, message("h", "", "of default"))
	b.Close()

	b = open(t, dir, nil)
	refusedAsFull(t, b, messageFor("ACME", "h", "fourth"))
	acme.Quota.Messages = 4
	putOrganization(t, b, acme, revision)
	accept(t, b, messageFor("ACME", "h", "fourth"))
	refusedAsFull(t, b, messageFor("ACME", "h", "fifth"))
	d := newDestination(delivered)
	drain(t, b, d, nil)
	d.await(t, 5)
	settledAll(t, b)
	accept(t, b, messageFor("ACME", "h", "fifth"))
}

func TestQuotaOfMessagesIsNotExceededByManyAtOneTime(t *testing.T) {
	b := open(t, stateDir(t), nil)
	putOrganization(t, b, relay.Organization{Name: "ACME", Enabled: true, Quota: relay.OrganizationQuota{Messages: 10}}, 0)
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			_, err := b.Accept(t.Context(), messageFor("ACME", "h", "x"))
			if err != nil && relay.CodeOf(err) != relay.CodeQuotaFull {
				t.Error(err)
			}
		})
	}
	all.Wait()
	s, err := b.Queue(t.Context(), relay.Queue{Organization: "ACME", Destination: queue.Destination})
	require.NoError(t, err)
	require.LessOrEqual(t, s.Pending, uint64(10))
	for range 10 - s.Pending {
		accept(t, b, messageFor("ACME", "h", "x"))
	}
	refusedAsFull(t, b, messageFor("ACME", "h", "x"))
}

// The quota in bytes is one of journal and large bodies, and may be changed at any
// time; what is more than a smaller one stays.
func TestQuotaOfBytesOfAnOrganization(t *testing.T) {
	dir := stateDir(t)
	b := open(t, dir, anyDisk)
	acme := relay.Organization{Name: "ACME", Enabled: true, Quota: relay.OrganizationQuota{Bytes: 1 << 20}}
	revision := putOrganization(t, b, acme, 0)
	body := strings.Repeat("x", 400<<10)
	accept(t, b, messageFor("ACME", "h", body))
	accept(t, b, messageFor("ACME", "h", body))
	refusedAsFull(t, b, messageFor("ACME", "h", body))
	refusedAsFull(t, b, messageFor("ACME", "h", strings.Repeat("x", 3<<20))) // a file of its own
	accept(t, b, message("h", "", body))

	acme.Quota.Bytes = 8 << 20
	revision = putOrganization(t, b, acme, revision)
	accept(t, b, messageFor("ACME", "h", body))
	accept(t, b, messageFor("ACME", "h", strings.Repeat("x", 3<<20)))

	acme.Quota.Bytes = 1 << 20
	revision = putOrganization(t, b, acme, revision)
	refusedAsFull(t, b, messageFor("ACME", "h", "x"))
	b.Close()
	b = open(t, dir, anyDisk)
	q := relay.Queue{Organization: "ACME", Destination: queue.Destination}
	s, err := b.Queue(t.Context(), q)
	require.NoError(t, err)
	require.EqualValues(t, 4, s.Pending)
	require.EqualValues(t, 1<<20, s.QuotaBytes)
	refusedAsFull(t, b, messageFor("ACME", "h", body))

	acme.Quota.Bytes = 0 // what is configured for all
	putOrganization(t, b, acme, revision)
	s, err = b.Queue(t.Context(), q)
	require.NoError(t, err)
	require.EqualValues(t, broker.DefaultQuotaBytes, s.QuotaBytes)
	accept(t, b, messageFor("ACME", "h", body))
}

package broker_test

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

var _ relay.Organizations = (*broker.Broker)(nil)

func putOrganization(t *testing.T, b *broker.Broker, o relay.Organization, revision uint64) uint64 {
	t.Helper()
	revision, err := b.PutOrganization(t.Context(), o, revision)
	require.NoError(t, err)
	return revision
}

func TestOrganizationsAreKept(t *testing.T) {
	dir := stateDir(t)
	b := open(t, dir, nil)
	first, revision, err := b.Organization(t.Context(), relay.DefaultOrganization)
	require.NoError(t, err)
	require.True(t, first.Enabled)
	require.Equal(t, relay.ChangedByConfiguration, first.ChangedBy)

	first.Enabled, first.Why, first.ChangedBy = false, "not paid", relay.ChangedByOperator
	next := putOrganization(t, b, first, revision)
	science := relay.Organization{Name: "ACME/R & D", ForemanID: 7, Enabled: true, Weight: 3,
		Rules: []relay.IdentityRule{{}}, Quota: relay.OrganizationQuota{Bytes: 1 << 20}}
	last := putOrganization(t, b, science, 0)
	require.Greater(t, last, next)

	for range 2 { // what the configuration names is not put back at a start
		got, revision, err := b.Organization(t.Context(), first.Name)
		require.NoError(t, err)
		require.Equal(t, next, revision)
		require.Equal(t, first, got)
		got, revision, err = b.Organization(t.Context(), science.Name)
		require.NoError(t, err)
		require.Equal(t, last, revision)
		require.Equal(t, science, got)
		known, ok := b.KnownOrganization(science.Name)
		require.True(t, ok)
		require.Equal(t, science, known)
		all, err := b.Organizations(t.Context())
		require.NoError(t, err)
		require.Equal(t, []relay.Organization{science, first}, all)
		b.Close()
		b = open(t, dir, nil)
	}
}

func TestOrganizationsThatAreRefused(t *testing.T) {
	b := open(t, stateDir(t), func(o *broker.Options) { o.MaxOrganizations = 2 })
	revision := putOrganization(t, b, relay.Organization{Name: "A"}, 0)
	for name, c := range map[string]struct {
		organization relay.Organization
		revision     uint64
		code         relay.Code
	}{
		"there already":     {relay.Organization{Name: "A"}, 0, relay.CodeConflict},
		"another revision":  {relay.Organization{Name: "A"}, revision + 1, relay.CodeConflict},
		"an older revision": {relay.Organization{Name: "A"}, revision - 1, relay.CodeConflict},
		"not there":         {relay.Organization{Name: "B"}, 5, relay.CodeNotFound},
		"too many":          {relay.Organization{Name: "B"}, 0, relay.CodeConflict},
		"no name":           {relay.Organization{}, 0, relay.CodeMalformed},
		"a control in it":   {relay.Organization{Name: "a\nb"}, 0, relay.CodeMalformed},
		"a quota below":     {relay.Organization{Name: "A", Quota: relay.OrganizationQuota{Bytes: -1}}, revision, relay.CodeMalformed},
		"a quota above":     {relay.Organization{Name: "A", Quota: relay.OrganizationQuota{Bytes: broker.MaxQuota + 1}}, revision, relay.CodeMalformed},
		"a weight above":    {relay.Organization{Name: "A", Weight: relay.MaxWeight + 1}, revision, relay.CodeMalformed},
		"a rate below":      {relay.Organization{Name: "A", Rate: relay.OrganizationRate{SenderPerSecond: -1}}, revision, relay.CodeMalformed},
		"a name of rules":   {relay.Organization{Name: relay.OrganizationOfSubject}, 0, relay.CodeMalformed},
		"a wrong rule":      {relay.Organization{Name: "A", Rules: []relay.IdentityRule{{Fingerprint: "ab"}}}, revision, relay.CodeMalformed},
		"a wrong host":      {relay.Organization{Name: "A", Rules: []relay.IdentityRule{{SpeaksFor: "a b"}}}, revision, relay.CodeMalformed},
		"too large":         {relay.Organization{Name: "A", Why: strings.Repeat("x", 300<<10)}, revision, relay.CodeTooLarge},
	} {
		_, err := b.PutOrganization(t.Context(), c.organization, c.revision)
		require.Equal(t, c.code, relay.CodeOf(err), "%s: %v", name, err)
	}
	_, _, err := b.Organization(t.Context(), "B")
	require.Equal(t, relay.CodeNotFound, relay.CodeOf(err))
	_, known := b.KnownOrganization("B")
	require.False(t, known)
	require.Greater(t, putOrganization(t, b, relay.Organization{Name: "A", Enabled: true}, revision), revision)
}

// No quota that is taken keeps the next start from its store.
func TestTheLargestQuotaOutlivesAStart(t *testing.T) {
	dir := stateDir(t)
	b := open(t, dir, nil)
	quota := relay.OrganizationQuota{Bytes: broker.MaxQuota, Messages: math.MaxInt64, MessageBytes: math.MaxInt64}
	putOrganization(t, b, relay.Organization{Name: "A", Enabled: true, Quota: quota}, 0)
	accept(t, b, messageFor("A", "h", "x"))
	b.Close()
	b = open(t, dir, nil)
	o, _, err := b.Organization(t.Context(), "A")
	require.NoError(t, err)
	require.Equal(t, quota, o.Quota)
	accept(t, b, messageFor("A", "h", "y"))
}

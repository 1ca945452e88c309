package broker_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// The rules of an organization map to it and to no other one, and are there
// again after a start.
func TestTheRulesOfOrganizations(t *testing.T) {
	dir := stateDir(t)
	b := open(t, dir, anyDisk)
	require.Empty(t, b.IdentityRules())
	put := func(name string, rules ...relay.IdentityRule) {
		_, err := b.PutOrganization(t.Context(), relay.Organization{Name: name, Enabled: true, Rules: rules}, 0)
		require.NoError(t, err)
	}
	put("Z", relay.IdentityRule{CN: "*.z.example.com", Organization: "default"}, relay.IdentityRule{SubjectO: "Z", Organization: relay.OrganizationOfSubject})
	put("A", relay.IdentityRule{SubjectO: "A", SpeaksFor: relay.HostsAny})
	want := []relay.IdentityRule{{SubjectO: "A", SpeaksFor: relay.HostsAny, Organization: "A"},
		{CN: "*.z.example.com", Organization: "Z"}, {SubjectO: "Z", Organization: "Z"}}
	require.Equal(t, want, b.IdentityRules())
	b.Close()
	require.Equal(t, want, open(t, dir, anyDisk).IdentityRules())
}

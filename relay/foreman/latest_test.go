package foreman

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// Facts are a state, and the last upload of each type is it. Everything else
// tells of something that happened, and each counts.
func TestOnlyOfFactsTheNewestIsEnough(t *testing.T) {
	var latest []relay.Route
	for _, r := range Routes(relay.DefaultPolicy()) {
		if r.Policy.Latest {
			latest = append(latest, r)
		}
	}
	require.Len(t, latest, 1)
	require.Equal(t, "facts", latest[0].Name)
	policy := latest[0].Policy
	policy.Latest = false
	require.Equal(t, relay.DefaultPolicy(), policy, "it is tried as all others are")

	kind := func(facts map[string]any) string {
		return latest[0].KindOf(relay.Request{Doc: map[string]any{"name": "web", "facts": facts}})
	}
	require.Empty(t, kind(map[string]any{}), "Puppet's have no type")
	require.Equal(t, "ansible", kind(map[string]any{"_type": "ansible"}))
	long := strings.Repeat("a", relay.MaxKind+1)
	require.Len(t, kind(map[string]any{"_type": long}), relay.MaxKind)
	require.NotEqual(t, kind(map[string]any{"_type": long}), kind(map[string]any{"_type": long + "a"}))
}

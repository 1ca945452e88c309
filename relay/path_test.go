package relay_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

func TestCheckPath(t *testing.T) {
	for _, path := range []string{"/", "/api/v2/hosts/facts", "/a%20b/%C3%A4", "/a/...", "/a//b", "/.well-known"} {
		require.NoError(t, relay.CheckPath(path), path)
	}
	for path, says := range map[string]string{"": "one slash", "api": "one slash", "//evil.example.com/x": "one slash",
		"http://evil.example.com": "one slash", "/%zz": "%zz", "/..": "dots", "/a/./b": "dots", "/a/%2e%2e/b": "dots", "/%2f..": "dots"} {
		require.ErrorContains(t, relay.CheckPath(path), says, path)
	}
}

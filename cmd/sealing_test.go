package cmd

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/seal"
)

// The organization's own state counts from the moment in which it is changed, and
// after a start; the configuration names nobody.
func TestAnOrganizationIsSealedWhileAllRuns(t *testing.T) {
	keys, err := seal.OpenKeyring(filepath.Join(t.TempDir(), "keys"), time.Now, zerolog.Nop())
	require.NoError(t, err)
	config, state := writeFile(t, "organizations: [ACME]\nsealing: {recipients: ["+keys.Recipients()[0]+"]}\n"), filepath.Join(shortDir(t), "state")
	p := startServe(t, "--config", config, "--state-dir", state)
	encryption := func(organization, want string) {
		t.Helper()
		status, id := p.post("/relay/v1/queues/"+organization+"/foreman/messages", `{"secret":1}`)
		require.Equal(t, 202, status)
		var s relay.MessageStatus
		p.read(&s, "message", "show", id)
		require.Equal(t, want, s.Encryption)
	}
	encryption("ACME", "")
	for _, change := range []struct{ flag, want string }{{"--sealed", relay.EncryptionAge}, {"--sealed=false", ""}, {"--sealed", relay.EncryptionAge}} {
		_, errs, code := p.ask("org", "quota", "ACME", change.flag)
		require.Zero(t, code, errs)
		encryption("ACME", change.want)
		encryption("default", "")
	}
	require.Zero(t, p.stop())
	p = startServe(t, "--config", config, "--state-dir", state)
	encryption("ACME", relay.EncryptionAge)
}

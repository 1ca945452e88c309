package cmd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	agefile "filippo.io/age"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/seal"
)

func TestKeysAreListedRotatedAndSaved(t *testing.T) {
	state := t.TempDir()
	_, errs, code := cli(t, "keys", "ls", "--state-dir", state)
	require.Equal(t, 3, code)
	require.Contains(t, errs, "makes the first one at its start")
	_, _, code = cli(t, "keys", "rotate", "--state-dir", state)
	require.Equal(t, 3, code, "in a directory that is mistyped nothing is made")

	_, err := seal.OpenKeyring(seal.Dir(state), time.Now, zerolog.Nop())
	require.NoError(t, err)
	out, errs, code := cli(t, "keys", "rotate", "--state-dir", state)
	require.Zero(t, code, errs)
	id, recipient, _ := strings.Cut(strings.TrimSpace(out), "\t")
	out, errs, code = cli(t, "keys", "ls", "--state-dir", state, "-o", "json")
	require.Zero(t, code, errs)
	require.NotContains(t, out, "AGE-SECRET")
	var keys []seal.Key
	require.NoError(t, json.Unmarshal([]byte(out), &keys))
	require.Len(t, keys, 2)
	require.Equal(t, id, keys[1].ID)
	require.True(t, keys[1].Current)

	out, _, code = cli(t, "keys", "export", "--state-dir", state)
	require.Zero(t, code)
	require.Equal(t, recipient+"\n", out)
	out, _, code = cli(t, "keys", "export", keys[0].ID, "--state-dir", state)
	require.Zero(t, code)
	require.Equal(t, keys[0].Recipient+"\n", out)
	_, _, code = cli(t, "keys", "export", "nosuchkey", "--state-dir", state)
	require.Equal(t, 3, code)
}

// The backup is what age reads; it is written for its owner alone, once, and only
// if that was said to be meant.
func TestSecretKeysAreWrittenForABackup(t *testing.T) {
	state, file := t.TempDir(), filepath.Join(t.TempDir(), "backup")
	_, err := seal.OpenKeyring(seal.Dir(state), time.Now, zerolog.Nop())
	require.NoError(t, err)
	_, errs, code := cli(t, "keys", "rotate", "--state-dir", state)
	require.Zero(t, code, errs)

	_, errs, code = cli(t, "keys", "export", "--state-dir", state, "--secret", file)
	require.Equal(t, 2, code)
	require.Contains(t, errs, "--yes")
	require.NoFileExists(t, file)
	out, errs, code := cli(t, "keys", "export", "--state-dir", state, "--secret", file, "--yes")
	require.Zero(t, code, errs)
	require.NotContains(t, out+errs, "AGE-SECRET")
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	f, err := os.Open(file)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	identities, err := agefile.ParseIdentities(f)
	require.NoError(t, err)
	require.Len(t, identities, 2)
	_, _, code = cli(t, "keys", "export", "--state-dir", state, "--secret", file, "--yes")
	require.Equal(t, 6, code, "nothing is overwritten")
}

func TestWhatIsWrongWithSealingIsSaid(t *testing.T) {
	dir := t.TempDir()
	open := filepath.Join(dir, "open")
	require.NoError(t, os.WriteFile(open, []byte("Bearer s3cr3t\n"), 0o644))
	require.NoError(t, os.Chmod(open, 0o644))
	half := filepath.Join(dir, "half")
	require.NoError(t, os.WriteFile(half, []byte("s3cr3t\n"), 0o600))
	for name, c := range map[string]struct{ text, want string }{
		"an organization":    {"sealing: {organizations: [Nobody]}\n", "no such organization"},
		"a recipient":        {"sealing: {recipients: [nothing]}\n", "keys export"},
		"a recipient of age": {"sealing: {recipients: [age1nothing]}\n", "no X25519 recipient"},
		"a key":              {"sealing: {recipient: [x]}\n", "sealing.recipients"},
		"no file":            {"foreman: {url: 'https://f'}\ncredentials: {default: {authorization: " + dir + "/none}}\n", "no such file"},
		"no credentials":     {"foreman: {url: 'https://f'}\ncredentials: {default: {}}\n", "give cert and key"},
		"an open file":       {"foreman: {url: 'https://f'}\ncredentials: {default: {authorization: " + open + "}}\n", "chmod o="},
		"no scheme":          {"foreman: {url: 'https://f'}\ncredentials: {default: {authorization: " + half + "}}\n", "a scheme"},
		"a value":            {"credentials: {default: Bearer}\n", "credentials.default holds keys of its own"},
	} {
		file := filepath.Join(dir, "relay.yaml")
		require.NoError(t, os.WriteFile(file, []byte(c.text), 0o600))
		_, errs, code := cli(t, "config", "check", "--config", file)
		require.Equal(t, 2, code, name)
		require.Contains(t, errs, c.want, name)
		require.NotContains(t, errs, "s3cr3t", name)
	}
}

// Whoever gets hold of a drain's certificate can tell the edge a key of his own:
// pinned ones are not moved by that.
func TestPinnedRecipientsCountAlone(t *testing.T) {
	told := func(string) []string { return []string{"age1told"} }
	var c Config
	require.Equal(t, []string{"age1told"}, c.pinned(told)("foreman"))
	c.Sealing = Sealing{Recipients: []string{"age1pinned"}, Organizations: []string{"ACME"}}
	require.Equal(t, []string{"age1pinned"}, c.pinned(told)("foreman"))
	covers := c.covers(func(name string) (relay.Organization, bool) { return relay.Organization{Sealed: name == "Own"}, true })
	for organization, want := range map[string]bool{"ACME": true, "Own": true, "default": false} {
		covered, err := covers(t.Context(), organization)
		require.NoError(t, err)
		require.Equal(t, want, covered)
	}
}

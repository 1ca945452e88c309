package cmd

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPKIInitSaysWhatItMadeAndWhatToTry(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "my pki")
	out, errs, code := cli(t, "pki", "init", dir, "--host", "web1.example.com", "--destination", "other")
	require.Zero(t, code, errs)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 4)
	for i, name := range []string{"ca", "edge", "drain", "host"} {
		require.True(t, strings.HasPrefix(lines[i], filepath.Join(dir, name+".crt")+"\t"+filepath.Join(dir, name+".key")+"\tuntil "), lines[i])
		require.FileExists(t, filepath.Join(dir, name+".crt"))
		require.FileExists(t, filepath.Join(dir, name+".key"))
	}
	require.Contains(t, errs, "  foreman-relay serve --broker-listen 127.0.0.1:4223 --broker-cert '"+dir+"/edge.crt'")
	require.Contains(t, errs, "  foreman-relay drain --broker tls://127.0.0.1:4223 --broker-ca '"+dir+"/ca.crt'")
	require.Contains(t, errs, " --destination other\n")
}

func TestPKIExitCodes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	_, errs, code := cli(t, "pki", "issue", dir, "--use", "drain")
	require.Equal(t, exitNotFound, code, errs)
	require.Contains(t, errs, "there is no CA here")

	_, errs, code = cli(t, "pki", "init", dir)
	require.Zero(t, code, errs)
	require.NotContains(t, errs, "--destination")
	_, errs, code = cli(t, "pki", "init", dir)
	require.Equal(t, exitConflict, code)
	require.Contains(t, errs, "never overwritten")

	_, errs, code = cli(t, "pki", "init", filepath.Join(t.TempDir(), "x"), "--host", "not a host")
	require.Equal(t, exitUsage, code, errs)
	_, errs, code = cli(t, "pki", "issue", dir, "--use", "host", "--host", "a.example.com", "--ip", "127.0.0.1")
	require.Equal(t, exitUsage, code, errs)
}

func TestPKIIssue(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	_, errs, code := cli(t, "pki", "init", dir)
	require.Zero(t, code, errs)
	for name, args := range map[string][]string{
		"drain2":        {"--use", "drain", "--file", "drain2"},
		"drain-other":   {"--use", "drain", "--destination", "other"},
		"a.example.com": {"--use", "host", "--host", "A.example.com"},
		"edge2":         {"--use", "edge", "--file", "edge2", "--name", "relay.example.com", "--ip", "192.0.2.1"},
	} {
		out, errs, code := cli(t, append([]string{"pki", "issue", dir}, args...)...)
		require.Zero(t, code, errs)
		require.Equal(t, filepath.Join(dir, name+".crt")+"\t"+filepath.Join(dir, name+".key")+"\n", out)
		require.FileExists(t, filepath.Join(dir, name+".crt"))
	}
}

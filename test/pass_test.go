package test

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	standin "github.com/theforeman/foreman-relay/test/foreman"
	"github.com/theforeman/foreman-relay/test/harness"
)

const encPath = "/node/web1.example.com?format=yml"

// What only Foreman can answer, through the real program: its words while it is
// there, the last good ones of a node while it is not, and never a 2xx of
// something that stands in its place. Over the narrow channel it is the same.
func TestPassThrough(t *testing.T) {
	for name, start := range map[string]func(*testing.T, *standin.Server, ...string) string{"one process": startPassing, "two processes": startPassingFar} {
		t.Run(name, func(t *testing.T) { passThrough(t, start) })
	}
}

func passThrough(t *testing.T, start func(*testing.T, *standin.Server, ...string) string) {
	foreman := standin.New()
	require.NoError(t, foreman.Start("127.0.0.1:0"))
	t.Cleanup(foreman.Stop)
	node := "---\nclasses:\n  ntp: \nparameters:\n  motd: |-\n    \"quoted\"\n\n    ü\n"
	foreman.SetNode("web1.example.com", node)
	config := filepath.Join(t.TempDir(), "relay.yaml")
	require.NoError(t, os.WriteFile(config, []byte("pass_through: {stale: false}\n"), 0o600))
	keeps := start(t, foreman)
	forgets := start(t, foreman, "--config", config)

	for _, url := range []string{keeps, forgets} {
		resp, body := getFrom(t, url+encPath)
		require.Equal(t, []any{200, node, ""}, []any{resp.StatusCode, body, resp.Header.Get("Relay-Stale")})
	}
	for name, away := range map[string]func(){
		"a maintenance page": func() { foreman.SetRules(standin.Rule{Mode: standin.Maintenance}) },
		"Apache alone":       func() { foreman.SetRules(standin.Rule{Mode: standin.HTML503}) },
		"nobody":             foreman.Stop,
	} {
		foreman.SetRules()
		away()
		resp, body := getFrom(t, keeps+encPath)
		require.Equal(t, []any{200, node, "true"}, []any{resp.StatusCode, body, resp.Header.Get("Relay-Stale")}, name)
		require.Regexp(t, `^\d+$`, resp.Header.Get("Age"))
		resp, _ = getFrom(t, keeps+"/node/other.example.com?format=yml")
		require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, name)
		resp, _ = getFrom(t, forgets+encPath)
		require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, name)
		require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"))

		resp, script := getFrom(t, keeps+"/register")
		require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode, name)
		sh := exec.Command("sh")
		sh.Stdin = strings.NewReader(script)
		out, err := sh.CombinedOutput()
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit, "%s: %s", name, out)
		require.Equal(t, 1, exit.ExitCode())
		require.Contains(t, string(out), "this host is not registered")
		if name == "nobody" {
			require.NoError(t, foreman.Start(""))
		}
	}
	foreman.SetRules()
	require.Eventually(t, func() bool {
		resp, body := getFrom(t, forgets+encPath)
		return resp.StatusCode == 200 && body == node
	}, 20*time.Second, 50*time.Millisecond, "it is asked again soon")
}

// startPassing starts a relay that needs no disk, and returns its URL.
func startPassing(t *testing.T, foreman *standin.Server, args ...string) string {
	t.Helper()
	f := &form{t: t, foreman: foreman, state: filepath.Join(t.TempDir(), "s")}
	f.edge = harness.Start(t, slices.Concat(f.serve(), []string{"--durability", "os", "--foreman-url", foreman.URL()}, args)...)
	f.awaitReady()
	return f.url
}

// startPassingFar is the same relay with a drain of its own, which alone can reach
// Foreman.
func startPassingFar(t *testing.T, foreman *standin.Server, args ...string) string {
	t.Helper()
	f := &form{t: t, foreman: foreman, state: filepath.Join(t.TempDir(), "s")}
	f.startFarEdge(append([]string{"--durability", "os"}, args...)...)
	resp, body := getFrom(t, f.url+"/unattended/provision?token=t")
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Contains(t, body, "no drain is connected", "told at once")
	f.startDrain()
	require.Eventually(t, func() bool {
		resp, _ := getFrom(t, f.url+"/unattended/provision?token=t")
		return resp.StatusCode == http.StatusOK
	}, 20*time.Second, 20*time.Millisecond)
	return f.url
}

func getFrom(t *testing.T, url string) (*http.Response, string) {
	t.Helper()
	resp, err := http.Get(url)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp, string(body)
}

package cmd

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// drainArgs are those of a drain for an edge with these certificates.
func drainArgs(t *testing.T, certs, broker, foreman string) []string {
	t.Helper()
	return []string{"drain", "--state-dir", filepath.Join(shortDir(t), "drain"), "--broker", "tls://" + broker, "--broker-ca", certs + "/ca.crt",
		"--broker-cert", certs + "/drain.crt", "--broker-key", certs + "/drain.key", "--foreman-url", foreman}
}

// startEdge runs a relay that far drains may dial, and says where.
func startEdge(t *testing.T, certs, broker string) *process {
	t.Helper()
	return startServe(t, "--broker-listen", broker, "--broker-cert", certs+"/edge.crt", "--broker-key", certs+"/edge.key", "--broker-client-ca", certs+"/ca.crt")
}

func brokerOf(t *testing.T, p *process) string {
	t.Helper()
	require.Regexp(t, `drains=tls://127\.0\.0\.1:\d+,`, p.start["message"])
	return p.start["broker"]
}

func TestDrainOnItsOwn(t *testing.T) {
	ca, _, _ := certificates(t)
	certs := filepath.Dir(ca)
	foreman := startForeman(t)
	edge := startEdge(t, certs, "127.0.0.1:0")
	status, id := edge.post("/api/config_reports", report("web.example.com"))
	require.Equal(t, http.StatusCreated, status)

	args := drainArgs(t, certs, brokerOf(t, edge), foreman.URL())
	drain := startProcess(t, args...)
	require.Contains(t, drain.start["message"], "drains "+drain.start["broker"]+" to "+foreman.URL()+" as "+drain.start["instance"]+", state in "+args[2])
	edge.awaitState(id, relay.Delivered)
	var q relay.QueueStatus
	edge.read(&q, "queue", "show", "default/foreman")
	require.Equal(t, drain.start["instance"], q.Drain)

	_, errs, code := cli(t, args...)
	require.Equal(t, exitFailure, code, "a second one on the same directory")
	require.Contains(t, errs, "the state directory is in use: "+args[2])

	require.Zero(t, drain.stop())
	again := startProcess(t, args...)
	require.Equal(t, drain.start["instance"], again.start["instance"])
	require.Zero(t, again.stop())
	require.Zero(t, edge.stop())
}

// An edge that is away is a normal state, and the line is there all the same.
func TestDrainWithoutAnEdge(t *testing.T) {
	ca, _, _ := certificates(t)
	drain := startProcess(t, drainArgs(t, filepath.Dir(ca), "127.0.0.1:1", "http://127.0.0.1:1")...)
	require.Zero(t, drain.stop())
}

func TestDrainNeedsFilesThatFit(t *testing.T) {
	ca, _, _ := certificates(t)
	args := drainArgs(t, filepath.Dir(ca), "127.0.0.1:1", "http://127.0.0.1:1")
	for name, c := range map[string]struct {
		more []string
		want string
	}{
		"a key that is missing": {[]string{"--broker-key", "/nowhere/x.key"}, "broker.key /nowhere/x.key: no such file or directory"},
		"another's key":         {[]string{"--broker-key", filepath.Join(filepath.Dir(ca), "edge.key")}, "private key does not match public key"},
		"no tls address":        {[]string{"--broker", "127.0.0.1:1"}, "write tls://HOST:PORT"},
		"no URL":                {[]string{"--foreman-url", "foreman"}, "write https://HOST[:PORT]"},
	} {
		_, errs, code := cli(t, append(args, c.more...)...)
		require.Equal(t, exitUsage, code, name)
		require.Contains(t, errs, c.want, name)
	}
}

package cmd

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
	standin "github.com/theforeman/foreman-relay/test/foreman"
)

func TestServeSaysWhereItIsAndStops(t *testing.T) {
	p := startServe(t)
	for _, want := range []string{"listens on " + p.start["url"], "state in " + p.start["state_dir"], "durability os",
		"delivers to nowhere yet (give --foreman-url, or run `foreman-relay drain`)", "try: foreman-relay queue ls --admin-socket " + p.socket()} {
		require.Contains(t, p.start["message"], want)
	}
	require.Equal(t, filepath.Join(p.start["state_dir"], "admin.sock"), p.socket())
	require.Zero(t, p.stop())
	require.NoFileExists(t, p.socket())
	require.Zero(t, p.stop(), "stopped again")
}

func TestServeStartsAgainWhereItStopped(t *testing.T) {
	p := startServe(t)
	status, id := p.post("/api/config_reports", report("web.example.com"))
	require.Equal(t, http.StatusCreated, status)
	require.Zero(t, p.stop())

	again := startProcess(t, "serve", "--state-dir", p.start["state_dir"], "--listen", "127.0.0.1:0", "--durability", "os")
	var s relay.MessageStatus
	again.read(&s, "message", "show", id)
	require.Equal(t, id, s.ID)
	status, replayed := again.post("/api/config_reports", report("web.example.com"))
	require.Equal(t, http.StatusCreated, status)
	require.Equal(t, id, replayed)
}

// The line is plain text for people, whatever the level of the log.
func TestStartLineForPeople(t *testing.T) {
	c := defaultConfig()
	c.StateDir, c.Listen, c.Durability, c.Log = filepath.Join(shortDir(t), "state"), "127.0.0.1:0", "os", Log{Format: "console", Level: "error"}
	ctx, cancel := context.WithCancel(t.Context())
	var stderr bytes.Buffer
	var at Addresses
	require.NoError(t, Serve(ctx, c, func(string) string { return "" }, &stderr, func(a Addresses) { at = a; cancel() }))
	require.Equal(t, 1, strings.Count(stderr.String(), "\n"), stderr.String())
	require.True(t, strings.HasPrefix(stderr.String(), "foreman-relay "+Version()+" listens on "+at.URL+", state in "+c.StateDir), stderr.String())
	require.Equal(t, filepath.Join(c.StateDir, "admin.sock"), at.AdminSocket)
	require.Empty(t, at.Broker)
}

func TestServeDelivers(t *testing.T) {
	foreman := startForeman(t)
	p := startServe(t, "--foreman-url", foreman.URL())
	require.Contains(t, p.start["message"], "delivers to "+foreman.URL())
	status, id := p.post("/api/config_reports", report("web.example.com"))
	require.Equal(t, http.StatusCreated, status)
	p.awaitState(id, relay.Delivered)
	require.Len(t, foreman.Counted(), 1)
	require.FileExists(t, filepath.Join(p.start["state_dir"], "instance"))
}

func TestForemanThatIsAwayIsANormalState(t *testing.T) {
	foreman := startForeman(t)
	foreman.Stop()
	p := startServe(t, "--foreman-url", foreman.URL())
	status, id := p.post("/api/config_reports", report("web.example.com"))
	require.Equal(t, http.StatusCreated, status)
	require.NoError(t, foreman.Start(""))
	p.awaitState(id, relay.Delivered)
}

// At a stop nothing new is taken from the first moment on, what is under way is
// finished, and its outcome is kept.
func TestStopRefusesTheNewAndSettlesWhatIsInFlight(t *testing.T) {
	foreman := startForeman(t)
	foreman.SetRules(standin.Rule{Mode: standin.Slow, NotPing: true, Latency: 1500 * time.Millisecond})
	p := startServe(t, "--foreman-url", foreman.URL(), "--log-level", "debug")
	status, id := p.post("/api/config_reports", report("web.example.com"))
	require.Equal(t, http.StatusCreated, status)
	require.Eventually(t, func() bool { return len(foreman.Requests()) == 1 }, 10*time.Second, 10*time.Millisecond)

	p.cancel()
	require.Eventually(t, func() bool { // no connection, or 503
		status, _ := p.post("/api/config_reports", report("late.example.com"))
		return status == 0 || status == http.StatusServiceUnavailable
	}, time.Second, 10*time.Millisecond, "requests are still taken while the drain stops")
	require.Empty(t, foreman.Counted(), "the attempt was still under way")
	require.Zero(t, p.stop())
	require.Len(t, foreman.Counted(), 1)
	require.Equal(t, []string{"edge", "drain", "admin socket", "broker", "listener"}, p.stopped())

	foreman.SetRules()
	again := startProcess(t, "serve", "--state-dir", p.start["state_dir"], "--listen", "127.0.0.1:0", "--durability", "os", "--foreman-url", foreman.URL())
	again.awaitState(id, relay.Delivered)
	require.Len(t, foreman.Requests(), 1, "it was not sent again")
}

// stopped are the steps of the stop, in order.
func (p *process) stopped() []string {
	var steps []string
	for line := range strings.Lines(p.log.String()) {
		var l struct{ Message, Step string }
		if json.Unmarshal([]byte(line), &l) == nil && l.Message == "stopped" && l.Step != "" {
			steps = append(steps, l.Step)
		}
	}
	return steps
}

// An attempt that does not end is cut off after the stop timeout.
func TestStopIsBounded(t *testing.T) {
	foreman := startForeman(t)
	foreman.SetRules(standin.Rule{Mode: standin.Hang, NotPing: true})
	p := startServe(t, "--foreman-url", foreman.URL(), "--config", writeFile(t, "limits: {stop_timeout: 1s}\n"))
	status, _ := p.post("/api/config_reports", report("web.example.com"))
	require.Equal(t, http.StatusCreated, status)
	require.Eventually(t, func() bool { return len(foreman.Requests()) == 1 }, 10*time.Second, 10*time.Millisecond)
	start := time.Now()
	require.Zero(t, p.stop())
	require.Less(t, time.Since(start), 10*time.Second)
}

func TestSecondStartOnTheSameDirectory(t *testing.T) {
	p := startServe(t)
	_, errs, code := cli(t, "serve", "--state-dir", p.start["state_dir"], "--listen", "127.0.0.1:0", "--durability", "os")
	require.Equal(t, exitFailure, code)
	require.Contains(t, errs, "foreman-relay: the state directory is in use: "+p.start["state_dir"]+" is held by process ")
	require.Contains(t, errs, "stop that one, or choose another --state-dir")
	_, _, code = p.ask("queue", "ls")
	require.Zero(t, code, "the first one goes on")
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	dir := filepath.Join(shortDir(t), "state")
	_, errs, code := cli(t, "serve", "--state-dir", dir, "--listen", l.Addr().String())
	require.Equal(t, exitFailure, code)
	require.Equal(t, "foreman-relay: address "+l.Addr().String()+" is in use: another program (or another relay) listens there; stop it, or give --listen another address\n", errs)
	require.NoDirExists(t, dir)
}

func TestAddressOfAnotherMachine(t *testing.T) {
	ca, _, _ := certificates(t)
	_, errs, code := cli(t, "serve", "--state-dir", filepath.Join(shortDir(t), "s"), "--listen", "192.0.2.1:1",
		"--tls-cert", filepath.Join(filepath.Dir(ca), "edge.crt"), "--tls-key", filepath.Join(filepath.Dir(ca), "edge.key"))
	require.Equal(t, exitFailure, code)
	require.Contains(t, errs, "listen on 192.0.2.1:1: ")
	require.Contains(t, errs, "give --listen an address of this machine")
}

// A path below a file fails for every user, root too.
func TestStateDirectoryThatCannotBeMade(t *testing.T) {
	file := filepath.Join(shortDir(t), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, dir := range []string{file, filepath.Join(file, "state")} {
		_, errs, code := cli(t, "serve", "--state-dir", dir, "--listen", "127.0.0.1:0")
		require.Equal(t, exitFailure, code)
		require.True(t, strings.HasPrefix(errs, "foreman-relay: state directory "+dir+" cannot be made: a file is where a directory should be: move it away"), errs)
		_, errs, code = cli(t, "drain", "--state-dir", dir, "--broker", "tls://127.0.0.1:1", "--broker-ca", file, "--broker-cert", file,
			"--broker-key", file, "--foreman-url", "http://127.0.0.1:1")
		require.Equal(t, exitFailure, code)
		require.Contains(t, errs, "state directory "+dir+" cannot be made")
	}
}

func TestAdminSocketThatIsTooLong(t *testing.T) {
	path := "/" + strings.Repeat("x", 120)
	_, errs, code := cli(t, "serve", "--state-dir", filepath.Join(shortDir(t), "s"), "--listen", "127.0.0.1:0", "--durability", "os", "--admin-socket", path)
	require.Equal(t, exitFailure, code)
	require.Contains(t, errs, "foreman-relay: admin socket "+path+": the path has 121 bytes, the system takes 107; choose a shorter one with --admin-socket\n")
}

func TestAdminSocketInUse(t *testing.T) {
	p := startServe(t)
	_, errs, code := cli(t, "serve", "--state-dir", filepath.Join(shortDir(t), "s"), "--listen", "127.0.0.1:0", "--durability", "os", "--admin-socket", p.socket())
	require.Equal(t, exitFailure, code)
	require.Contains(t, errs, "another process answers on it")
}

func TestServeOverTLS(t *testing.T) {
	ca, cert, key := certificates(t)
	dir := filepath.Dir(ca)
	p := startServe(t, "--tls-cert", filepath.Join(dir, "edge.crt"), "--tls-key", filepath.Join(dir, "edge.key"), "--tls-client-ca", ca)
	require.True(t, strings.HasPrefix(p.start["url"], "https://127.0.0.1:"))
	pem, err := os.ReadFile(ca)
	require.NoError(t, err)
	config := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	require.True(t, config.RootCAs.AppendCertsFromPEM(pem))
	get := func() (int, error) {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: config.Clone(), DisableKeepAlives: true}, Timeout: 5 * time.Second}
		resp, err := client.Get(p.start["url"] + "/readyz")
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, resp.Body.Close()
	}
	_, err = get()
	require.ErrorContains(t, err, "certificate required")
	pair, err := tls.LoadX509KeyPair(cert, key)
	require.NoError(t, err)
	config.Certificates = []tls.Certificate{pair}
	status, err := get()
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
}

func TestMetricsAreThereFromTheStart(t *testing.T) {
	text := startServe(t).metrics()
	for _, family := range []string{"foreman_relay_attempts_total", "foreman_relay_attempt_duration_seconds", "foreman_relay_retries_held", "foreman_relay_disk_low", "foreman_relay_store_broken",
		"foreman_relay_concurrency_limit", "foreman_relay_attempts_in_flight", "foreman_relay_queues_waiting", "foreman_relay_rate_limit",
		"foreman_relay_connections", "foreman_relay_connections_refused_total", "foreman_relay_throttled_seconds", "foreman_relay_throttled_total", "foreman_relay_breaker_state", "go_goroutines", "process_start_time_seconds"} {
		require.Contains(t, text, "# TYPE "+family+" ", "without a drain too")
	}
}

// The gate is the configured one, and begins at one place of eight.
func TestTheRateIsConfigured(t *testing.T) {
	p := startServe(t, "--foreman-url", startForeman(t).URL(), "--config", writeFile(t, "foreman: {rate: 4}\n"))
	text := p.metrics()
	require.Contains(t, text, "foreman_relay_concurrency_limit{destination=\"foreman\"} 1\n")
	require.Contains(t, text, "foreman_relay_rate_limit{destination=\"foreman\"} 0.5\n")
}

// The bounds are the configured ones; the admin socket has none of them.
func TestTheConnectionsAreBoundAsConfigured(t *testing.T) {
	p := startServe(t, "--config", writeFile(t, "limits: {max_connections: 2, max_per_address: 1, header_timeout: 1m}\n"))
	dial := func(from string) net.Conn {
		c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", strings.TrimPrefix(p.start["url"], "http://"))
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() }) // it may be closed
		require.NoError(t, c.SetDeadline(time.Now().Add(10*time.Second)))
		return c
	}
	closed := func(c net.Conn) {
		_, err := c.Read(make([]byte, 1))
		require.Error(t, err)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	}
	dial("127.0.0.1")
	closed(dial("127.0.0.1"))
	dial("127.0.0.2")
	closed(dial("127.0.0.3"))
	text := p.metrics()
	for _, want := range []string{"foreman_relay_connections 2\n", `foreman_relay_connections_refused_total{why="address"} 1`, `foreman_relay_connections_refused_total{why="total"} 1`} {
		require.Contains(t, text, want)
	}
}

func (p *process) metrics() string {
	p.t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", p.socket())
	}}
	resp, err := (&http.Client{Transport: transport}).Get("http://relay/metrics")
	require.NoError(p.t, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(p.t, err)
	require.NoError(p.t, resp.Body.Close())
	return string(text)
}

// certificates makes a CA with an edge, a drain and a host; the paths are those
// of the CA and of the host's pair.
func certificates(t *testing.T) (ca, cert, key string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pki")
	_, errs, code := cli(t, "pki", "init", dir, "--host", "web1.example.com")
	require.Zero(t, code, errs)
	return filepath.Join(dir, "ca.crt"), filepath.Join(dir, "host.crt"), filepath.Join(dir, "host.key")
}

package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/theforeman/foreman-relay/relay"
	standin "github.com/theforeman/foreman-relay/test/foreman"
	"github.com/theforeman/foreman-relay/test/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, harness.Lingering()) }

// cli runs one command to its end.
func cli(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return cliWith(t, []string{"HOME=" + shortDir(t)}, args...)
}

func cliWith(t *testing.T, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	code = Main(ctx, args, &out, &errs, env)
	return out.String(), errs.String(), code
}

// process is a `serve` or `drain` that runs in this process, as Main runs it.
type process struct {
	t      *testing.T
	log    *startLog
	start  map[string]string // fields of the start line
	cancel context.CancelFunc
	code   chan int
}

// startProcess runs a command that does not end by itself and waits for its
// start line.
func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{t: t, log: &startLog{announced: make(chan map[string]string, 1)}, cancel: cancel, code: make(chan int, 1)}
	go func() {
		p.code <- Main(ctx, append(args, "--log-format", "json"), p.log, p.log, []string{"HOME=/nowhere"})
	}()
	select {
	case p.start = <-p.log.announced:
	case code := <-p.code:
		cancel()
		require.Failf(t, "it did not start", "%v: exit %d:\n%s", args, code, p.log)
	case <-time.After(30 * time.Second):
		cancel()
		require.Failf(t, "it did not start in time", "%v:\n%s", args, p.log)
	}
	t.Cleanup(func() { p.stop() })
	return p
}

// stop ends the context, as SIGTERM does, and returns the exit code.
func (p *process) stop() int {
	p.cancel()
	select {
	case code := <-p.code:
		p.code <- code
		return code
	case <-time.After(60 * time.Second):
		require.Failf(p.t, "it did not stop", "%s", p.log)
		return -1
	}
}

// startServe runs a relay on a port of its own. What it promises of the disk is
// not this package's to test, so that it need not wait for one.
func startServe(t *testing.T, args ...string) *process {
	t.Helper()
	dir := filepath.Join(shortDir(t), "state")
	return startProcess(t, append([]string{"serve", "--state-dir", dir, "--listen", "127.0.0.1:0", "--durability", "os"}, args...)...)
}

func (p *process) socket() string { return p.start["admin_socket"] }

// ask runs an operator's command against the relay.
func (p *process) ask(args ...string) (stdout, stderr string, code int) {
	p.t.Helper()
	return cli(p.t, append(args, "--admin-socket", p.socket())...)
}

// read runs an operator's command that must succeed, and reads its JSON.
func (p *process) read(v any, args ...string) {
	p.t.Helper()
	out, errs, code := p.ask(append(args, "-o", "json")...)
	require.Zero(p.t, code, errs)
	require.NoError(p.t, json.Unmarshal([]byte(out), v), out)
}

// post sends a request to the relay and returns the status and the message's id.
func (p *process) post(path, body string) (status int, id string) {
	p.t.Helper()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Post(p.start["url"]+path, "application/json", strings.NewReader(body))
	if err != nil {
		return 0, ""
	}
	require.NoError(p.t, resp.Body.Close())
	return resp.StatusCode, resp.Header.Get("Relay-Message-Id")
}

func (p *process) awaitState(id string, want relay.State) {
	p.t.Helper()
	var s relay.MessageStatus
	require.Eventually(p.t, func() bool {
		p.read(&s, "message", "show", id)
		return s.State == want
	}, 20*time.Second, 20*time.Millisecond, "%s is %s, not %s", id, s.State, want)
}

// startForeman runs a stand-in for Foreman.
func startForeman(t *testing.T) *standin.Server {
	t.Helper()
	s := standin.New()
	require.NoError(t, s.Start("127.0.0.1:0"))
	t.Cleanup(s.Stop)
	return s
}

// report is a config report as Puppet sends it.
func report(host string) string {
	return `{"config_report":{"host":"` + host + `","reported_at":"2026-01-01 00:00:00 UTC","status":{"applied":1},"metrics":{},"logs":[]}}`
}

// shortDir is a temporary directory whose sockets' paths are short enough.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fr")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "relay.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// startLog keeps what a process writes, and finds its start line.
type startLog struct {
	announced chan map[string]string

	mu   sync.Mutex
	text strings.Builder
}

func (l *startLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	var line map[string]any
	if json.Unmarshal(p, &line) == nil && line["level"] == nil { // the start line alone has no level
		fields := map[string]string{}
		for k, v := range line {
			if s, ok := v.(string); ok {
				fields[k] = s
			}
		}
		l.announced <- fields
	}
	return len(p), nil
}

func (l *startLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

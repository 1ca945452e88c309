package test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/test/harness"
)

// hook is a service that is no Foreman: it takes what is sent by whoever has a
// certificate, refuses some of it, and remembers all.
type hook struct {
	*httptest.Server
	mu  sync.Mutex
	got []hooked
}

type hooked struct{ body, sender, path, authorization string }

func startHook(t *testing.T, ca, cert, key string) *hook {
	t.Helper()
	return startHookAt(t, "127.0.0.1", ca, cert, key)
}

func startHookAt(t *testing.T, ip, ca, cert, key string) *hook {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(cert, key)
	require.NoError(t, err)
	pem, err := os.ReadFile(ca)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(pem))
	h := &hook{}
	h.Server = httptest.NewUnstartedServer(h)
	if ip != "127.0.0.1" {
		require.NoError(t, h.Listener.Close())
		h.Listener, err = net.Listen("tcp", net.JoinHostPort(ip, "0"))
		require.NoError(t, err)
	}
	h.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	h.EnableHTTP2 = true
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	h.StartTLS()
	t.Cleanup(h.Close)
	return h
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if r.Method == http.MethodHead { // a probe
		return
	}
	h.mu.Lock()
	h.got = append(h.got, hooked{string(body), r.TLS.PeerCertificates[0].Subject.CommonName, r.URL.RequestURI(), r.Header.Get("Authorization")})
	h.mu.Unlock()
	if bytes.HasPrefix(body, []byte("bad")) {
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = io.WriteString(w, "this is no event")
	}
}

func (h *hook) all() []hooked {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]hooked{}, h.got...)
}

// A destination of kind http: what is put into its queue is delivered to it over
// its own TLS, with its own certificate; what it refuses becomes a dead letter;
// Foreman has no part in it, and neither has a proxy of the environment.
func TestADestinationThatIsNoForeman(t *testing.T) {
	for name, far := range map[string]bool{"one process": false, "two processes": true} {
		t.Run(name, func(t *testing.T) {
			var proxied atomic.Int32
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { proxied.Add(1); w.WriteHeader(502) }))
			t.Cleanup(proxy.Close)
			for _, variable := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
				t.Setenv(variable, proxy.URL)
			}
			f := newForm(t, filepath.Join(t.TempDir(), "state"))
			h := f.startWithHook(far)
			ids := map[string]string{}
			for _, body := range []string{"event 1", "bad 1", "event 2", "event 3"} {
				ids[body] = f.put("pulp", body)
			}
			lost := f.put("nowhere", "event 4")
			s := awaitSettled(t, f.socket, "default/pulp")
			require.Equal(t, []uint64{4, 3, 1}, []uint64{s.Accepted, s.Delivered, s.Dead})
			require.ElementsMatch(t, []hooked{{"event 1", "web1.example.com", "/sub", "Bearer token-1"}, {"bad 1", "web1.example.com", "/sub", "Bearer token-1"},
				{"event 2", "web1.example.com", "/sub", "Bearer token-1"}, {"event 3", "web1.example.com", "/sub", "Bearer token-1"}}, h.all())

			out, errs, code := harness.Command(t, "dlq", "show", ids["bad 1"], "-o", "json", "--admin-socket", f.socket)
			require.Zero(t, code, errs)
			var letter relay.DeadLetter
			require.NoError(t, json.Unmarshal([]byte(out), &letter), out)
			require.Equal(t, []any{"pulp", relay.ReasonRejected, 422}, []any{letter.Destination, letter.Reason, letter.Status})
			require.Contains(t, out, "this is no event")
			harness.Audit(t, f.socket)
			require.Empty(t, f.foreman.Requests())

			if !far { // a name that does not lead anywhere is not asked of a proxy
				require.Eventually(t, func() bool {
					out, _, _ := harness.Command(t, "queue", "show", "default/nowhere", "-o", "json", "--admin-socket", f.socket)
					var s relay.QueueStatus
					return json.Unmarshal([]byte(out), &s) == nil && s.Breaker == "open"
				}, 30*time.Second, 100*time.Millisecond)
			}
			out, errs, code = harness.Command(t, "message", "show", lost, "-o", "json", "--admin-socket", f.socket)
			require.Zero(t, code, errs)
			require.NotContains(t, out, `"state":"delivered"`)
			require.Zero(t, proxied.Load())
			for _, p := range append(f.drains, f.edge) {
				require.NotContains(t, p.Log(), "token-1")
			}
		})
	}
}

// startWithHook starts a relay that delivers to Foreman and, with a certificate of
// its own, to a hook.
func (f *form) startWithHook(far bool) *hook {
	f.t.Helper()
	f.certs = filepath.Join(f.t.TempDir(), "pki")
	_, errs, code := harness.Command(f.t, "pki", "init", f.certs, "--host", "web1.example.com")
	require.Zero(f.t, code, errs)
	_, errs, code = harness.Command(f.t, "pki", "issue", f.certs, "--use", "drain", "--destination", "pulp", "--file", "pulp")
	require.Zero(f.t, code, errs)
	h := startHook(f.t, f.cert("ca.crt"), f.cert("edge.crt"), f.cert("edge.key"))
	write := func(name, text string) string {
		path := filepath.Join(f.t.TempDir(), name)
		require.NoError(f.t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	here := write("here.yaml", fmt.Sprintf("destinations:\n  nowhere: {url: 'http://relay-test.invalid/', allow_addresses: [127.0.0.1]}\n  pulp: {url: '%s/sub', ca: %s, cert: %s, key: %s, authorization_file: %s, min_tls: 1.3}\n",
		h.URL, f.cert("ca.crt"), f.cert("host.crt"), f.cert("host.key"), write("token", "Bearer token-1\n")))
	if !far {
		f.edge = harness.Start(f.t, append(f.serve(), "--foreman-url", f.foreman.URL(), "--config", here)...)
		f.awaitReady()
		return h
	}
	f.broker = harness.FreeAddress(f.t)
	f.edge = harness.Start(f.t, append(f.serve(), "--config", write("there.yaml", "destinations: {pulp: {}, nowhere: {}}\n"),
		"--broker-listen", f.broker, "--broker-cert", f.cert("edge.crt"), "--broker-key", f.cert("edge.key"), "--broker-client-ca", f.cert("ca.crt"))...)
	f.awaitReady()
	f.startDrain("--destination", "pulp", "--broker-cert", f.cert("pulp.crt"), "--broker-key", f.cert("pulp.key"), "--config", here)
	return h
}

// put puts a message into a queue of the default organization.
func (f *form) put(destination, body string) (id string) {
	f.t.Helper()
	req, err := http.NewRequest(http.MethodPost, f.url+"/relay/v1/queues/default/"+destination+"/messages", bytes.NewReader([]byte(body)))
	require.NoError(f.t, err)
	req.Header.Set("Content-Type", "text/plain")
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	require.NoError(f.t, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(f.t, err)
	require.NoError(f.t, resp.Body.Close())
	require.Equal(f.t, http.StatusAccepted, resp.StatusCode, string(text))
	return resp.Header.Get("Relay-Message-Id")
}

// awaitSettled waits until nothing of a queue is pending.
func awaitSettled(t *testing.T, socket, queue string) relay.QueueStatus {
	t.Helper()
	var s relay.QueueStatus
	require.Eventually(t, func() bool {
		out, _, code := harness.Command(t, "queue", "show", queue, "-o", "json", "--admin-socket", socket)
		return code == 0 && json.Unmarshal([]byte(out), &s) == nil && s.Accepted > 0 && s.Pending == 0
	}, 30*time.Second, 100*time.Millisecond)
	return s
}

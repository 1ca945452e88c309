package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/seal"
	"github.com/theforeman/foreman-relay/test/harness"
)

// tenancy is a relay to which Foreman gives a tenant, where its events go, and
// what is to be shown there.
type tenancy struct {
	*pki
	edge    *harness.Process
	url     string
	state   string // of the edge
	keys    *seal.Keyring
	token   string
	foreman *http.Client
	sender  *http.Client
}

const tenant = "ACME/R & D"

// startTenancy starts the edge; the keys are those of whoever delivers.
func startTenancy(t *testing.T, keys string, ip net.IP, args ...string) *tenancy {
	t.Helper()
	y := &tenancy{pki: &pki{t, filepath.Join(t.TempDir(), "pki")}, state: filepath.Join(t.TempDir(), "edge"), token: "t0ken-in-the-document"}
	init := []string{"init", y.dir, "--host", "foreman.example.com"}
	if ip != nil {
		init = append(init, "--edge-ip", ip.String())
	}
	y.run(init...)
	y.run("issue", y.dir, "--use", "host", "--host", "sender.example.com")
	y.run("issue", y.dir, "--use", "drain", "--destination", "hook", "--file", "hook")
	if keys == "" {
		keys = seal.Dir(y.state)
	}
	var err error
	y.keys, err = seal.OpenKeyring(keys, time.Now, zerolog.Nop())
	require.NoError(t, err)
	config, address := y.file("relay.yaml"), harness.FreeAddress(t)
	require.NoError(t, os.WriteFile(config, []byte("smart_proxy: {trusted_hosts: [foreman.example.com]}\n"), 0o600))
	y.url = "https://" + address
	y.edge = harness.Start(t, append([]string{"serve", "--config", config, "--listen", address, "--state-dir", y.state, "--durability", "os", "--log-level", "debug",
		"--tls-cert", y.file("edge.crt"), "--tls-key", y.file("edge.key"), "--tls-client-ca", y.file("ca.crt")}, args...)...)
	y.foreman, _ = y.client("host")
	y.sender, _ = y.client("sender.example.com")
	y.awaitReady()
	return y
}

func (y *tenancy) awaitReady() {
	y.t.Helper()
	require.Eventually(y.t, func() bool {
		resp, err := y.foreman.Get(y.url + "/readyz")
		return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	}, 20*time.Second, 50*time.Millisecond)
}

func (y *tenancy) socket() string { return filepath.Join(y.state, "admin.sock") }

// sealed is what docs/handshake.md says, made with age alone.
func (y *tenancy) sealed(organization string) string {
	y.t.Helper()
	key, _ := y.keys.Current()
	recipient, err := age.ParseX25519Recipient(key.Recipient)
	require.NoError(y.t, err)
	read := func(name string) []byte {
		text, err := os.ReadFile(y.file(name))
		require.NoError(y.t, err)
		return text
	}
	inner, err := json.Marshal(map[string]any{"authorization": "Bearer " + y.token, "certificate": read("sender.example.com.crt"), "key": read("sender.example.com.key")})
	require.NoError(y.t, err)
	var out bytes.Buffer
	armored := armor.NewWriter(&out)
	w, err := age.Encrypt(armored, recipient)
	require.NoError(y.t, err)
	_, err = fmt.Fprintf(w, "foreman-relay/1 credentials %s/hook\n%s", organization, inner)
	require.NoError(y.t, err)
	require.NoError(y.t, w.Close())
	require.NoError(y.t, armored.Close())
	return out.String()
}

// handshake gives a document with the tenant, its destination and a credential.
func (y *tenancy) handshake(to, sealed string) relay.HandshakeReply {
	y.t.Helper()
	document, err := json.Marshal(map[string]any{"version": 1,
		"organizations": map[string]any{tenant: map[string]any{"rules": []any{map[string]string{"cn": "sender.example.com"}}}},
		"destinations":  map[string]any{"hook": map[string]any{"url": to, "organizations": []string{tenant}}},
		"credentials":   []relay.SealedCredential{{Organization: tenant, Destination: "hook", Sealed: sealed}}})
	require.NoError(y.t, err)
	status, text := y.post(y.foreman, "/relay/v1/handshake", string(document), "If-Match", "*")
	require.Equal(y.t, http.StatusOK, status, text)
	var r relay.HandshakeReply
	require.NoError(y.t, json.Unmarshal([]byte(text), &r))
	return r
}

func (y *tenancy) post(c *http.Client, path, body string, header ...string) (int, string) {
	y.t.Helper()
	req, err := http.NewRequest(http.MethodPost, y.url+path, strings.NewReader(body))
	require.NoError(y.t, err)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	require.NoError(y.t, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(y.t, err)
	require.NoError(y.t, resp.Body.Close())
	return resp.StatusCode, string(text)
}

// put puts a message into the tenant's queue at the hook.
func (y *tenancy) put(body string, header ...string) (r relay.Receipt) {
	y.t.Helper()
	status, text := y.post(y.sender, y.hookPath(tenant), body, header...)
	require.Equal(y.t, http.StatusAccepted, status, text)
	require.NoError(y.t, json.Unmarshal([]byte(text), &r))
	return r
}

func (y *tenancy) hookPath(organization string) string {
	return "/relay/v1/queues/" + strings.NewReplacer("/", "%2F", " ", "%20", "&", "%26").Replace(organization) + "/hook/messages"
}

func (y *tenancy) again() {
	y.t.Helper()
	require.Zero(y.t, y.edge.Stop(20*time.Second))
	y.edge.Again()
	y.foreman.CloseIdleConnections()
	y.sender.CloseIdleConnections()
	y.awaitReady()
}

// nothingInClear looks for what the document has sealed, on the edge.
func (y *tenancy) nothingInClear(texts ...string) {
	y.t.Helper()
	scan := &secretScan{t: y.t, forms: map[string][][]byte{}}
	scan.secret("token", []byte(y.token))
	scan.keyOf(y.file("sender.example.com.key"))
	scan.dir("state of the edge", y.state)
	scan.text("log of the edge", y.edge.Log())
	for _, text := range texts {
		scan.text("answer", text)
	}
	require.Positive(y.t, scan.looked)
}

// A document of Foreman's over TLS, with a tenant, a destination and a credential
// that is sealed for the drain. After a restart of the edge the destination is
// there; the drain shows the credential; the edge has it in clear nowhere. What
// could not be opened is a letter, which is replayed with the corrected document's.
func TestADestinationOfTheHandshake(t *testing.T) {
	drain, listen := filepath.Join(t.TempDir(), "drain"), harness.FreeAddress(t)
	certs := newPKI(t, "web1.example.com") // of the narrow channel
	certs.run("issue", certs.dir, "--use", "drain", "--destination", "hook", "--file", "hook")
	y := startTenancy(t, seal.Dir(drain), nil, "--broker-listen", listen, "--broker-cert", certs.file("edge.crt"), "--broker-key", certs.file("edge.key"), "--broker-client-ca", certs.file("ca.crt"))
	h := startHook(t, y.file("ca.crt"), y.file("edge.crt"), y.file("edge.key"))

	wrong := y.sealed("ACME") // for another organization's queue
	r := y.handshake("https://hook.example.com/", wrong)
	require.Equal(t, []string{"/destinations/hook"}, r.PendingRestart)
	require.Len(t, r.NotApplied, 1)
	require.Equal(t, "/destinations/hook/url", r.NotApplied[0].Pointer, "this edge has drains")
	status, text := y.post(y.sender, y.hookPath(tenant), "{}")
	require.Equal(t, http.StatusNotFound, status, text)
	y.again()

	first := y.put("event 1", "Idempotency-Key", "one")
	config := y.file("drain.yaml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, "destinations:\n  hook: {url: '%s/in', ca: %s}\n", h.URL, y.file("ca.crt")), 0o600))
	p := harness.Start(t, "drain", "--broker", "tls://"+listen, "--broker-ca", certs.file("ca.crt"), "--broker-cert", certs.file("hook.crt"), "--broker-key", certs.file("hook.key"),
		"--destination", "hook", "--config", config, "--state-dir", drain, "--log-level", "warn")
	y.becomes(first.ID, relay.Dead, relay.ReasonUndecryptable)
	require.Empty(t, h.all())

	r = y.handshake("https://hook.example.com/", y.sealed(tenant))
	require.Equal(t, []string{"/credentials/ACME~1R & D/hook"}, r.Differences.Changed)
	require.Empty(t, r.PendingRestart)
	again := y.put("event 1", "Idempotency-Key", "one")
	require.Equal(t, []any{first.ID, true}, []any{again.ID, again.Replayed}, "another credential makes no other request")
	second := y.put("event 2") // at once
	y.becomes(second.ID, relay.Delivered, "")
	_, errs, code := harness.Command(t, "dlq", "replay", first.ID, "--admin-socket", y.socket())
	require.Zero(t, code, errs)
	require.Eventually(t, func() bool { return len(h.all()) == 2 }, 20*time.Second, 20*time.Millisecond)
	require.ElementsMatch(t, []hooked{{"event 1", "sender.example.com", "/in", "Bearer " + y.token}, {"event 2", "sender.example.com", "/in", "Bearer " + y.token}}, h.all())

	status, text = y.post(y.foreman, y.hookPath("default"), "{}")
	require.Equal(t, http.StatusNotFound, status, "the document has it for %s alone: %s", tenant, text)
	shown, errs, code := harness.Command(t, "message", "show", second.ID, "--admin-socket", y.socket())
	require.Zero(t, code, errs)
	require.Contains(t, shown, "credentials, of the handshake")
	y.nothingInClear(text, shown)
	harness.Audit(t, y.socket())
	require.NotContains(t, p.Log(), y.token)
}

func (y *tenancy) becomes(id string, state relay.State, reason string) {
	y.t.Helper()
	var s relay.MessageStatus
	require.Eventually(y.t, func() bool {
		out, _, code := harness.Command(y.t, "message", "show", id, "-o", "json", "--admin-socket", y.socket())
		return code == 0 && json.Unmarshal([]byte(out), &s) == nil && s.State.Settled()
	}, 20*time.Second, 50*time.Millisecond)
	require.Equal(y.t, state, s.State, "%+v", s)
	require.Equal(y.t, reason, s.Reason)
}

// One process delivers to the document's URL itself. Inward addresses cannot be in
// a document, so that the service is at an address of this machine's network.
func TestADestinationOfTheHandshakeInOneProcess(t *testing.T) {
	ip := outward(t)
	ca := filepath.Join(t.TempDir(), "ca.crt")
	t.Setenv("SSL_CERT_FILE", ca) // the system's, which a document's destinations are held against
	y := startTenancy(t, "", ip)
	text, err := os.ReadFile(y.file("ca.crt"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(ca, text, 0o600))
	h := startHookAt(t, ip.String(), y.file("ca.crt"), y.file("edge.crt"), y.file("edge.key"))

	r := y.handshake(h.URL+"/in", y.sealed(tenant))
	require.Equal(t, []string{"/destinations/hook"}, r.PendingRestart)
	require.Empty(t, r.NotApplied)
	y.again()
	sent := y.put("event 1")
	y.becomes(sent.ID, relay.Delivered, "")
	require.Equal(t, []hooked{{"event 1", "sender.example.com", "/in", "Bearer " + y.token}}, h.all())
	y.nothingInClear()
	harness.Audit(t, y.socket())
}

// outward is an address of this machine that is not inward. A machine without a
// network gets one on its loopback interface, for as long as the test runs.
func outward(t *testing.T) net.IP {
	t.Helper()
	all, err := net.InterfaceAddrs()
	require.NoError(t, err)
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP
		}
	}
	const own = "192.0.2.77" // for documentation (RFC 5737): nobody else has it
	if out, err := exec.Command("ip", "address", "add", own+"/32", "dev", "lo").CombinedOutput(); err != nil {
		reason := fmt.Sprintf("this machine has no address beside loopback, and can be given none: %v: %s", err, out)
		if os.Getenv("CI") != "" {
			t.Fatal(reason)
		}
		t.Skip("not shown: ", reason)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "address", "del", own+"/32", "dev", "lo").Run() })
	return net.ParseIP(own)
}

package test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
	standin "github.com/theforeman/foreman-relay/test/foreman"
	"github.com/theforeman/foreman-relay/test/harness"
)

// vault is a relay that seals, before a Foreman that knows certificates, and the
// secrets that are passed through it.
type vault struct {
	*form
	far     bool
	pki     string // Foreman's, and of its clients
	deliver []string
	drain   string // state directory of whoever delivers

	token, password, marker string // in clear nowhere but where they are meant for
	open                    string // of the control: never sealed
}

// openVault starts the edge. The bodies of default are sealed, those of ACME are
// not; ACME has credentials of its own at Foreman.
func openVault(t *testing.T, far bool) *vault {
	t.Helper()
	dir := t.TempDir()
	v := &vault{far: far, pki: filepath.Join(dir, "pki"), token: "t0ken-Qm9yaW5n-of-a-sender", password: "pa55w0rd-of-ACME?!", marker: "marker-in-a-sealed-body", open: "marker-in-the-open"}
	_, errs, code := harness.Command(t, "pki", "init", v.pki, "--host", "sender.example.com")
	require.Zero(t, code, errs)
	v.form = newForm(t, filepath.Join(dir, "state"))
	v.useTLS()

	authorization, config := filepath.Join(dir, "acme.authorization"), filepath.Join(dir, "relay.yaml")
	require.NoError(t, os.WriteFile(authorization, []byte("Basic "+base64.StdEncoding.EncodeToString([]byte("acme:"+v.password))+"\n"), 0o600))
	text := fmt.Sprintf("organizations: [ACME]\nsealing:\n  organizations: [default]\ncredentials:\n  ACME:\n    authorization: %s\n", authorization)
	require.NoError(t, os.WriteFile(config, []byte(text), 0o600))
	in := func(name string) string { return filepath.Join(v.pki, name) }
	v.deliver = []string{"--foreman-url", v.foreman.URL(), "--foreman-ca", in("ca.crt"), "--foreman-cert", in("drain.crt"), "--foreman-key", in("drain.key"),
		"--config", config, "--log-level", "debug"}
	v.drain = v.state
	if far {
		v.drain = filepath.Join(dir, "drain")
		v.startFarEdge("--config", config, "--log-level", "debug")
		return v
	}
	v.edge = harness.Start(t, append(v.serve(), v.deliver...)...)
	v.awaitReady()
	return v
}

// useTLS starts the stand-in anew; who has no certificate is let in too.
func (v *vault) useTLS() {
	v.t.Helper()
	pem, err := os.ReadFile(filepath.Join(v.pki, "ca.crt"))
	require.NoError(v.t, err)
	pool := x509.NewCertPool()
	require.True(v.t, pool.AppendCertsFromPEM(pem))
	pair, err := tls.LoadX509KeyPair(filepath.Join(v.pki, "edge.crt"), filepath.Join(v.pki, "edge.key"))
	require.NoError(v.t, err)
	v.foreman.Stop()
	v.foreman.UseTLS(&tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven, MinVersion: tls.VersionTLS12})
	require.NoError(v.t, v.foreman.Start(""))
}

// deliverNow starts the far drain, if there is to be one.
func (v *vault) deliverNow() {
	if v.far {
		v.startDrain(append(v.deliver, "--state-dir", v.drain)...)
	}
}

// passed are the headers with credentials.
func (v *vault) passed(certificate bool) map[string]string {
	v.t.Helper()
	h := map[string]string{"Relay-Authorization": "Bearer " + v.token}
	if certificate {
		for name, file := range map[string]string{"Relay-Client-Certificate": "host.crt", "Relay-Client-Key": "host.key"} {
			pem, err := os.ReadFile(filepath.Join(v.pki, file))
			require.NoError(v.t, err)
			h[name] = base64.StdEncoding.EncodeToString(pem)
		}
	}
	return h
}

// send puts a message into a queue and returns the answer.
func (v *vault) send(organization string, body []byte, headers map[string]string) (int, string) {
	v.t.Helper()
	req, err := http.NewRequestWithContext(v.t.Context(), http.MethodPost, v.url+"/relay/v1/queues/"+organization+"/foreman/messages", bytes.NewReader(body))
	require.NoError(v.t, err)
	req.Header.Set("Content-Type", "application/json")
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(v.t, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(v.t, err)
	require.NoError(v.t, resp.Body.Close())
	return resp.StatusCode, string(text)
}

// report sends a report of a host, with a marker in it. It waits for the drain to
// have told its key: that is said by an answer, and by no other signal.
func (v *vault) report(organization, host, marker string, headers map[string]string) relay.Receipt {
	v.t.Helper()
	body := bytes.Replace(harness.Report(host, "2026-01-01 00:00:00 UTC"), []byte(`{"config_report":{`), []byte(`{"config_report":{"marker":"`+marker+`",`), 1)
	require.Contains(v.t, string(body), marker)
	all := map[string]string{"Relay-Route": "report"}
	for name, value := range headers {
		all[name] = value
	}
	return v.message(organization, body, all)
}

func (v *vault) message(organization string, body []byte, headers map[string]string) (r relay.Receipt) {
	v.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	status, text := v.send(organization, body, headers)
	for status == http.StatusServiceUnavailable && time.Now().Before(deadline) {
		time.Sleep(50 * time.Millisecond)
		status, text = v.send(organization, body, headers)
	}
	require.Equal(v.t, http.StatusAccepted, status, text)
	require.NoError(v.t, json.Unmarshal([]byte(text), &r))
	return r
}

// await waits until Foreman has a report of the host, and returns the request.
func (v *vault) await(host string) (found standin.Request) {
	v.t.Helper()
	require.Eventually(v.t, func() bool {
		for _, r := range v.foreman.Requests() {
			if r.Host == host && r.Counted {
				found = r
				return true
			}
		}
		return false
	}, 20*time.Second, 20*time.Millisecond, "nothing of %s", host)
	return found
}

// run is a command that must do well.
func (v *vault) run(args ...string) string {
	v.t.Helper()
	out, errs, code := harness.Command(v.t, append(args, "--admin-socket", v.socket)...)
	require.Zero(v.t, code, errs)
	return out
}

// settled waits until a message is, and returns where it stands.
func (v *vault) settled(id string) (s relay.MessageStatus) {
	v.t.Helper()
	require.Eventually(v.t, func() bool {
		out, _, code := harness.Command(v.t, "message", "show", id, "-o", "json", "--admin-socket", v.socket)
		return code == 0 && json.Unmarshal([]byte(out), &s) == nil && s.State.Settled()
	}, 20*time.Second, 50*time.Millisecond)
	return s
}

func inVaults(t *testing.T, f func(t *testing.T, v *vault)) {
	for name, far := range map[string]bool{"one process": false, "two processes": true} {
		t.Run(name, func(t *testing.T) { f(t, openVault(t, far)) })
	}
}

// Rotated while all runs: what was sealed before is delivered, with its old key;
// without that key it is a letter that names the key, the others go on, and a
// replay delivers it once the key is back.
func TestKeysAreRotatedAndLost(t *testing.T) {
	t.Parallel() // most of its time it waits
	inVaults(t, func(t *testing.T, v *vault) {
		v.deliverNow()
		v.report("default", "first.example.com", v.marker, nil)
		v.await("first.example.com")
		v.run("queue", "pause", "default/foreman")
		old := v.report("default", "old.example.com", v.marker, nil)

		out, errs, code := harness.Command(t, "keys", "rotate", "--state-dir", v.drain)
		require.Zero(t, code, errs)
		newer := out[:12]
		var fresh relay.Receipt
		require.Eventually(t, func() bool { // the drain tells it with a renewal
			fresh = v.report("default", fmt.Sprintf("new%d.example.com", time.Now().UnixNano()), v.marker, nil)
			var s relay.MessageStatus
			require.NoError(t, json.Unmarshal([]byte(v.run("message", "show", fresh.ID, "-o", "json")), &s))
			return s.SealedTo == newer
		}, 20*time.Second, 200*time.Millisecond)

		keys, err := filepath.Glob(filepath.Join(v.drain, "keys", "*.key"))
		require.NoError(t, err)
		require.Len(t, keys, 2)
		aside := filepath.Join(t.TempDir(), "aside")
		require.NoError(t, os.Rename(keys[0], aside))
		for _, p := range append(v.drains, v.edge) { // who delivers forgets it
			p.Kill()
			p.Again()
		}
		v.awaitReady()
		v.run("queue", "resume", "default/foreman")
		require.Equal(t, relay.Delivered, v.settled(fresh.ID).State)
		s := v.settled(old.ID)
		require.Equal(t, relay.Dead, s.State)
		require.Equal(t, relay.ReasonUndecryptable, s.Reason)
		require.Contains(t, s.Events[len(s.Events)-1].Detail, "sealed to key "+s.SealedTo)
		require.Contains(t, v.run("message", "why", old.ID), "Bring the key")

		require.NoError(t, os.Rename(aside, keys[0]))
		v.run("dlq", "replay", old.ID)
		require.Contains(t, string(v.await("old.example.com").Body), v.marker)
		harness.Audit(t, v.socket)
	})
}

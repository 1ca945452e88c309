package test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/test/harness"
)

// pki is the certificates that `foreman-relay pki` has made in a directory.
type pki struct {
	t   *testing.T
	dir string
}

func newPKI(t *testing.T, host string) *pki {
	t.Helper()
	p := &pki{t, filepath.Join(t.TempDir(), "pki")}
	p.run("init", p.dir, "--host", host)
	return p
}

func (p *pki) run(args ...string) {
	p.t.Helper()
	_, errs, code := harness.Command(p.t, append([]string{"pki"}, args...)...)
	require.Zero(p.t, code, errs)
}

func (p *pki) file(name string) string { return filepath.Join(p.dir, name) }

func (p *pki) block(name string) []byte {
	p.t.Helper()
	text, err := os.ReadFile(p.file(name))
	require.NoError(p.t, err)
	block, _ := pem.Decode(text)
	require.NotNil(p.t, block)
	return block.Bytes
}

func (p *pki) certificate(name string) *x509.Certificate {
	p.t.Helper()
	cert, err := x509.ParseCertificate(p.block(name + ".crt"))
	require.NoError(p.t, err)
	return cert
}

// revoke writes a CRL with these certificates, in place of the one before.
func (p *pki) revoke(names ...string) {
	p.t.Helper()
	key, err := x509.ParsePKCS8PrivateKey(p.block("ca.key"))
	require.NoError(p.t, err)
	list := &x509.RevocationList{Number: big.NewInt(time.Now().UnixNano()), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	for _, name := range names {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: p.certificate(name).SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, p.certificate("ca"), key.(crypto.Signer))
	require.NoError(p.t, err)
	require.NoError(p.t, os.WriteFile(p.file("new.crl"), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), 0o600))
	require.NoError(p.t, os.Rename(p.file("new.crl"), p.file("ca.crl")))
}

// client is one with this certificate, and how often it has dialled.
func (p *pki) client(name string) (*http.Client, *atomic.Int64) {
	p.t.Helper()
	pair, err := tls.LoadX509KeyPair(p.file(name+".crt"), p.file(name+".key"))
	require.NoError(p.t, err)
	pool := x509.NewCertPool()
	pool.AddCert(p.certificate("ca"))
	dialled := &atomic.Int64{}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			dialled.Add(1)
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}}
	p.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}, dialled
}

// told is what a client is answered.
type told struct {
	status int
	reason string
	id     string
	server *x509.Certificate
}

func postReport(t *testing.T, c *http.Client, url, host string) told {
	t.Helper()
	resp, err := c.Post(url+"/api/config_reports", "application/json", bytes.NewReader(harness.Report(host, "2026-01-01 00:00:00 UTC")))
	require.NoError(t, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	var p struct{ Reason string }
	require.NoError(t, json.Unmarshal(text, &p), "%s", text)
	return told{resp.StatusCode, p.Reason, resp.Header.Get("Relay-Message-Id"), resp.TLS.PeerCertificates[0]}
}

// Files are replaced under the running program: who is revoked meets it on the
// connection that he has open, a new certificate is shown to who comes anew, and
// nobody else notices anything. The sender travels with what it sent.
func TestIdentityWhileFilesAreReplaced(t *testing.T) {
	t.Parallel() // most of its time it waits
	p := newPKI(t, "web1.example.com")
	p.run("issue", p.dir, "--use", "host", "--host", "web2.example.com")
	p.run("issue", p.dir, "--use", "edge", "--file", "edge2")
	p.revoke()
	address, socket := harness.FreeAddress(t), filepath.Join(t.TempDir(), "s", "admin.sock")
	config := p.file("relay.yaml")
	require.NoError(t, os.WriteFile(config, []byte("identity:\n  rules:\n  - {cn: 'web*.example.com', organization: ACME Inc}\norganizations: [ACME Inc]\n"), 0o600))
	edge := harness.Start(t, "serve", "--config", config, "--listen", address, "--state-dir", filepath.Dir(socket), "--durability", "os",
		"--tls-cert", p.file("edge.crt"), "--tls-key", p.file("edge.key"), "--tls-client-ca", p.file("ca.crt"), "--tls-crl", p.file("ca.crl"))
	url := "https://" + address
	waiting, _ := p.client("host")
	require.Eventually(t, func() bool {
		resp, err := waiting.Get(url + "/readyz")
		return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	}, 20*time.Second, 50*time.Millisecond)
	one, first := p.client("host")
	two, second := p.client("web2.example.com")

	sent := postReport(t, one, url, "web1.example.com")
	require.Equal(t, http.StatusCreated, sent.status)
	require.Equal(t, http.StatusCreated, postReport(t, two, url, "web2.example.com").status)
	require.Equal(t, "not_its_host", postReport(t, two, url, "web1.example.com").reason)
	show, errs, code := harness.Command(t, "message", "show", sent.id, "--admin-socket", socket)
	require.Zero(t, code, errs)
	require.Contains(t, show, "web1.example.com sha256:")
	require.Contains(t, show, "ACME Inc/foreman")

	p.revoke("host")
	require.Eventually(t, func() bool { return postReport(t, one, url, "web1.example.com").reason == "revoked" }, 20*time.Second, 50*time.Millisecond)
	require.Equal(t, http.StatusCreated, postReport(t, two, url, "web2.example.com").status)

	for _, end := range []string{".key", ".crt"} { // the key first: for a moment they do not fit
		require.NoError(t, os.Rename(p.file("edge2"+end), p.file("edge"+end)))
	}
	renewed := p.certificate("edge")
	require.Eventually(t, func() bool {
		fresh, _ := p.client("web2.example.com")
		return postReport(t, fresh, url, "web2.example.com").server.Equal(renewed)
	}, 20*time.Second, 50*time.Millisecond)
	require.Equal(t, http.StatusCreated, postReport(t, two, url, "web2.example.com").status)
	require.Equal(t, []int64{1, 1}, []int64{first.Load(), second.Load()}, "each has used one connection")
	require.Zero(t, edge.Stop(20*time.Second))
	require.Contains(t, edge.Log(), `"reason":"revoked"`)
	require.Equal(t, 2, strings.Count(edge.Log(), "changed TLS files are in use"), edge.Log())
}

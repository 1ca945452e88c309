package test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	standin "github.com/theforeman/foreman-relay/test/foreman"
	"github.com/theforeman/foreman-relay/test/harness"
)

// TLS on every way: a host with its certificate to the edge, the edge as a proxy
// with its own to Foreman. Who has none, or speaks an old TLS, is not let in.
func TestTLSOnEveryWay(t *testing.T) {
	certs := filepath.Join(t.TempDir(), "pki")
	_, errs, code := harness.Command(t, "pki", "init", certs, "--host", "web1.example.com")
	require.Zero(t, code, errs)
	in := func(name string) string { return filepath.Join(certs, name) }
	pem, err := os.ReadFile(in("ca.crt"))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(pem))
	pair := func(name string) tls.Certificate {
		c, err := tls.LoadX509KeyPair(in(name+".crt"), in(name+".key"))
		require.NoError(t, err)
		return c
	}

	foreman := standin.New()
	foreman.UseTLS(&tls.Config{Certificates: []tls.Certificate{pair("edge")}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12})
	require.NoError(t, foreman.Start("127.0.0.1:0"))
	t.Cleanup(foreman.Stop)
	address := harness.FreeAddress(t)
	f := &form{t: t, foreman: foreman, url: "https://" + address, socket: filepath.Join(t.TempDir(), "s", "admin.sock")}
	f.edge = harness.Start(t, "serve", "--listen", address, "--state-dir", filepath.Dir(f.socket), "--log-level", "warn",
		"--tls-cert", in("edge.crt"), "--tls-key", in("edge.key"), "--tls-client-ca", in("ca.crt"),
		"--foreman-url", foreman.URL(), "--foreman-ca", in("ca.crt"), "--foreman-cert", in("drain.crt"), "--foreman-key", in("drain.key"))

	client := func(change func(*tls.Config)) *http.Client {
		config := &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair("host")}, MinVersion: tls.VersionTLS12}
		change(config)
		transport := &http.Transport{TLSClientConfig: config}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport, Timeout: 10 * time.Second}
	}
	post := func(c *http.Client) (*http.Response, error) {
		resp, err := c.Post(f.url+"/api/config_reports", "application/json", bytes.NewReader(harness.Report("web1.example.com", "2026-01-01 00:00:00 UTC")))
		if err == nil {
			_ = resp.Body.Close()
		}
		return resp, err
	}
	good := client(func(*tls.Config) {})
	require.Eventually(t, func() bool {
		resp, err := post(good)
		return err == nil && resp.StatusCode == http.StatusCreated
	}, 20*time.Second, 50*time.Millisecond)
	f.awaitRequests(1, 10*time.Second)

	_, err = post(client(func(c *tls.Config) { c.Certificates = nil }))
	require.ErrorContains(t, err, "certificate required")
	_, err = post(client(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }))
	require.ErrorContains(t, err, "protocol version")
	_, err = post(client(func(c *tls.Config) { c.RootCAs = x509.NewCertPool() }))
	require.ErrorContains(t, err, "unknown authority")
	resp, err := http.Post("http://"+address+"/api/config_reports", "application/json", strings.NewReader("{}"))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusBadRequest, resp.StatusCode, "plain HTTP on a TLS port")
	require.Len(t, foreman.Requests(), 1)
}

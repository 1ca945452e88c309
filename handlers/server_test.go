package handlers_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/handlers"
)

// certificate makes a self-signed certificate that serves as its own CA.
func certificate(t *testing.T) (certFile, keyFile string, pair tls.Certificate, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "relay"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	require.NoError(t, os.WriteFile(certFile, certPEM, 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600))
	pair, err = tls.LoadX509KeyPair(certFile, keyFile)
	require.NoError(t, err)
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return certFile, keyFile, pair, pool
}

// TestTLS: with a client CA nobody comes in without a certificate, and nobody
// with an old TLS; what fails is in the log at debug.
func TestTLS(t *testing.T) {
	certFile, keyFile, pair, pool := certificate(t)
	c, err := openCertificates(certFile, keyFile, certFile)
	require.NoError(t, err)
	log := &lockedBuffer{}
	server := handlers.NewServer(newEdge(t, nil), c.TLS(), zerolog.New(log))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- server.ServeTLS(l, "", "") }()
	defer func() {
		require.NoError(t, server.Close())
		require.ErrorIs(t, <-done, http.ErrServerClosed)
	}()

	try := func(client *tls.Config) (int, error) {
		client.RootCAs = pool
		transport := &http.Transport{TLSClientConfig: client, ForceAttemptHTTP2: true}
		defer transport.CloseIdleConnections()
		resp, err := (&http.Client{Transport: transport}).Post("https://"+l.Addr().String()+reportPath, "application/json", strings.NewReader(report))
		if err != nil {
			return 0, err
		}
		_ = resp.Body.Close()
		require.Equal(t, 2, resp.ProtoMajor)
		return resp.StatusCode, nil
	}
	status, err := try(&tls.Config{Certificates: []tls.Certificate{pair}})
	require.NoError(t, err)
	require.Equal(t, http.StatusCreated, status)
	_, err = try(&tls.Config{})
	require.Error(t, err)
	_, err = try(&tls.Config{Certificates: []tls.Certificate{pair}, MaxVersion: tls.VersionTLS11})
	require.Error(t, err)
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "handshake") }, 5*time.Second, 5*time.Millisecond)
	require.NotContains(t, log.String(), `"level":"error"`)
}

func openCertificates(cert, key, ca string) (*handlers.Certificates, error) {
	return handlers.OpenCertificates(handlers.CertificateFiles{Cert: cert, Key: key, ClientCA: ca}, time.Now,
		handlers.NewMetrics(prometheus.NewRegistry(), nil), zerolog.Nop())
}

// TestTLSFiles: an error names the file.
func TestTLSFiles(t *testing.T) {
	certFile, keyFile, _, _ := certificate(t)
	c, err := openCertificates(certFile, keyFile, "")
	require.NoError(t, err)
	config, err := c.TLS().GetConfigForClient(nil)
	require.NoError(t, err)
	require.Equal(t, tls.NoClientCert, config.ClientAuth)
	require.EqualValues(t, tls.VersionTLS12, config.MinVersion)
	for _, suite := range tls.InsecureCipherSuites() {
		require.NotContains(t, config.CipherSuites, suite.ID)
	}
	for _, files := range [][3]string{{"/none", keyFile, ""}, {certFile, "/none", ""}, {certFile, keyFile, "/none"}} {
		_, err := openCertificates(files[0], files[1], files[2])
		require.ErrorContains(t, err, "/none")
	}
	_, err = openCertificates(certFile, keyFile, keyFile)
	require.ErrorContains(t, err, "holds no certificate")
}

// TestServerLimits of a connection.
func TestServerLimits(t *testing.T) {
	s := handlers.NewServer(http.NotFoundHandler(), nil, zerolog.Nop())
	require.Equal(t, 10*time.Second, s.ReadHeaderTimeout)
	require.Zero(t, s.ReadTimeout, "a body has a limit of its own")
	require.Equal(t, 2*time.Minute, s.IdleTimeout)
	require.Equal(t, 32<<10, s.MaxHeaderBytes)
	require.GreaterOrEqual(t, s.WriteTimeout, time.Minute)
}

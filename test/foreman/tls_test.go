package standin_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	standin "github.com/theforeman/foreman-relay/test/foreman"
)

// selfSigned is a certificate that is its own authority.
func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "stand-in"}, IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestOverTLSWithClientCertificates(t *testing.T) {
	cert, pool := selfSigned(t)
	s := standin.New()
	s.UseTLS(&tls.Config{
		Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
	})
	require.NoError(t, s.Start("127.0.0.1:0"))
	t.Cleanup(s.Stop)
	require.True(t, strings.HasPrefix(s.URL(), "https://"))

	send := func(certs ...tls.Certificate) (reply, error) {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: certs, MinVersion: tls.VersionTLS12}}
		defer transport.CloseIdleConnections()
		c := &http.Client{Transport: transport, Timeout: patience}
		return try(t.Context(), c, http.MethodPost, s.URL()+reports, jsonHeader(), []byte(report("a", noon)))
	}
	_, err := send()
	require.Error(t, err)
	assert.Empty(t, s.Requests())

	got, err := send(cert)
	require.NoError(t, err)
	assert.Equal(t, 201, got.status)

	s.Stop()
	require.NoError(t, s.Start(""))
	got, err = send(cert)
	require.NoError(t, err, "TLS holds over a restart")
	assert.Equal(t, 422, got.status)
}

package pki_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/cmd/pki"
)

func TestCA(t *testing.T) {
	result := readPKI(t)
	ca := readCertificate(t, result.CA.Certificate)

	assert.Equal(t, "CN=foreman-relay CA,O=foreman-relay", ca.Subject.String())
	assert.True(t, ca.BasicConstraintsValid && ca.IsCA)
	assert.True(t, ca.MaxPathLen == 0 && ca.MaxPathLenZero, "signs end certificates only")
	assert.Equal(t, x509.KeyUsageCertSign|x509.KeyUsageCRLSign, ca.KeyUsage)
	assert.Equal(t, ca.NotBefore.AddDate(10, 0, 0), ca.NotAfter)
	assert.NoError(t, ca.CheckSignatureFrom(ca))
	assert.Equal(t, ca.SubjectKeyId, ca.AuthorityKeyId)
	assert.Len(t, ca.SubjectKeyId, 20)
	assert.Equal(t, ca.NotAfter, result.CA.NotAfter)
}

func TestEdge(t *testing.T) {
	result := readPKI(t)
	edge := readCertificate(t, result.Edge.Certificate)

	assert.Equal(t, []string{"localhost", "edge.example.com", "*.edge.example.com"}, edge.DNSNames)
	assert.Len(t, edge.IPAddresses, 4)
	assert.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, edge.ExtKeyUsage)
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "edge.example.com", "a.edge.example.com", "192.0.2.7", "2001:db8::7"} {
		_, err := edge.Verify(x509.VerifyOptions{
			Roots: roots(t, result.CA.Certificate), DNSName: name, CurrentTime: now,
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		})
		assert.NoError(t, err, name)
	}
	for _, name := range []string{"example.com", "192.0.2.8"} {
		assert.Error(t, edge.VerifyHostname(name), name)
	}
	assertChain(t, result.CA, edge, x509.ExtKeyUsageServerAuth)
}

func TestDrain(t *testing.T) {
	result := readPKI(t)
	drain := readCertificate(t, result.Drain.Certificate)

	require.Len(t, drain.URIs, 1)
	assert.Equal(t, "foreman-relay://drain/foreman", drain.URIs[0].String())
	assert.Empty(t, drain.DNSNames)
	assertChain(t, result.CA, drain, x509.ExtKeyUsageClientAuth)
}

func TestHost(t *testing.T) {
	result := readPKI(t)
	host := readCertificate(t, result.Host.Certificate)

	assert.Equal(t, "CN="+hostName, host.Subject.String())
	assert.Equal(t, []string{hostName}, host.DNSNames)
	assert.Empty(t, host.URIs)
	assertChain(t, result.CA, host, x509.ExtKeyUsageClientAuth)
}

// assertChain: signed by this CA, for this use and no other, and within the
// days it was made for.
func assertChain(t *testing.T, ca pki.Pair, c *x509.Certificate, use x509.ExtKeyUsage) {
	t.Helper()
	verify := func(at time.Time, use x509.ExtKeyUsage) error {
		_, err := c.Verify(x509.VerifyOptions{Roots: roots(t, ca.Certificate), CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{use}})
		return err
	}
	assert.NoError(t, verify(now, use))
	assert.NoError(t, verify(now.Add(-59*time.Minute), use), "the other machine's clock is behind")
	assert.NoError(t, verify(now.Add(824*24*time.Hour), use))
	assert.Error(t, verify(now.Add(825*24*time.Hour), use))
	for _, other := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageCodeSigning} {
		if other != use {
			assert.Error(t, verify(now, other))
		}
	}
	assert.Equal(t, 825*24*time.Hour, c.NotAfter.Sub(c.NotBefore))
	assert.False(t, c.IsCA)
	assert.Equal(t, x509.KeyUsageDigitalSignature, c.KeyUsage)
	assert.Equal(t, readCertificate(t, ca.Certificate).SubjectKeyId, c.AuthorityKeyId)
	assert.Len(t, c.SubjectKeyId, 20)
}

func TestSerialsAndKeysAreUnique(t *testing.T) {
	result := readPKI(t)
	serials, ids := map[string]bool{}, map[string]bool{}
	longest := 0
	for _, pair := range []pki.Pair{result.CA, result.Edge, result.Drain, result.Host} {
		c := readCertificate(t, pair.Certificate)
		serials[c.SerialNumber.String()], ids[string(c.SubjectKeyId)] = true, true
		longest = max(longest, c.SerialNumber.BitLen())
		assert.Positive(t, c.SerialNumber.Sign())
	}
	assert.Len(t, serials, 4)
	assert.Len(t, ids, 4)
	assert.Greater(t, longest, 112, "128 random bits")
	assert.LessOrEqual(t, longest, 128)
}

// Puppet's report processor reads its key as RSA and no other way.
func TestKeys(t *testing.T) {
	result := readPKI(t)
	for _, pair := range []pki.Pair{result.CA, result.Edge, result.Drain} {
		key, err := x509.ParsePKCS8PrivateKey(readBlock(t, pair.Key, "PRIVATE KEY"))
		require.NoError(t, err)
		require.IsType(t, &ecdsa.PrivateKey{}, key)
		assert.Equal(t, elliptic.P256(), key.(*ecdsa.PrivateKey).Curve)
		assert.True(t, key.(*ecdsa.PrivateKey).PublicKey.Equal(readCertificate(t, pair.Certificate).PublicKey))
	}
	key, err := x509.ParsePKCS1PrivateKey(readBlock(t, result.Host.Key, "RSA PRIVATE KEY"))
	require.NoError(t, err)
	assert.Equal(t, 3072, key.N.BitLen())
	assert.True(t, key.PublicKey.Equal(readCertificate(t, result.Host.Certificate).PublicKey.(*rsa.PublicKey)))
}

func TestValidityAndNameOfTheCAAreOptions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	at := time.Date(2030, 2, 3, 4, 5, 6, 7, time.FixedZone("", 3600))
	result, err := pki.Init(dir, pki.Options{Now: at, CAName: "Zażółć CA", Destination: "elsewhere", Validity: 24 * time.Hour})
	require.NoError(t, err)
	drain := readCertificate(t, result.Drain.Certificate)
	assert.Equal(t, time.Date(2030, 2, 3, 2, 5, 6, 0, time.UTC), drain.NotBefore)
	assert.Equal(t, time.Date(2030, 2, 4, 2, 5, 6, 0, time.UTC), drain.NotAfter)
	assert.Equal(t, drain.NotAfter, result.Drain.NotAfter)
	assert.Equal(t, "Zażółć CA", drain.Issuer.CommonName)
	assert.Equal(t, "foreman-relay://drain/elsewhere", drain.URIs[0].String())
	assert.Zero(t, result.Host)
	assert.Equal(t, time.Date(2040, 2, 3, 2, 5, 6, 0, time.UTC), result.CA.NotAfter)
	assert.False(t, bytes.Equal(drain.RawSubject, drain.RawIssuer))
}

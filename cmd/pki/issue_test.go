package pki_test

import (
	"crypto/x509"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/cmd/pki"
)

func TestIssue(t *testing.T) {
	dir, result := newPKI(t)
	tests := map[string]struct {
		request pki.Request
		use     x509.ExtKeyUsage
	}{
		"drain-foreman":     {pki.Request{Use: pki.Drain}, x509.ExtKeyUsageClientAuth},
		"drain-other":       {pki.Request{Use: pki.Drain, Destination: "other"}, x509.ExtKeyUsageClientAuth},
		"web02.example.com": {pki.Request{Use: pki.Host, Host: "WEB02.example.com"}, x509.ExtKeyUsageClientAuth},
		"edge2":             {pki.Request{Use: pki.Edge, File: "edge2", Names: []string{"edge2.example.com"}, IPs: []net.IP{net.ParseIP("192.0.2.9")}}, x509.ExtKeyUsageServerAuth},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.request.Now = now
			require.Equal(t, name, test.request.FileName())
			require.NoError(t, pki.Issue(dir, test.request))
			c := readCertificate(t, filepath.Join(dir, name+".crt"))
			assertChain(t, result.CA, c, test.use)
			load(t, pki.Pair{Certificate: filepath.Join(dir, name+".crt"), Key: filepath.Join(dir, name+".key")})
			assert.Equal(t, fs.FileMode(0o600), mode(t, filepath.Join(dir, name+".key")))

			err := pki.Issue(dir, test.request)
			require.ErrorIs(t, err, fs.ErrExist)
			assert.ErrorContains(t, err, filepath.Join(dir, name+".key")+" exists already and is never overwritten: move it away")
			assert.Equal(t, c.SerialNumber, readCertificate(t, filepath.Join(dir, name+".crt")).SerialNumber)
		})
	}
}

func TestIssueEndsWithTheCA(t *testing.T) {
	dir, result := newPKI(t)
	late := result.CA.NotAfter.Add(-24 * time.Hour)
	require.NoError(t, pki.Issue(dir, pki.Request{Now: late, Use: pki.Drain}))
	assert.Equal(t, result.CA.NotAfter, readCertificate(t, filepath.Join(dir, "drain-foreman.crt")).NotAfter)

	early := readCertificate(t, result.CA.Certificate).NotBefore
	require.NoError(t, pki.Issue(dir, pki.Request{Now: early, Use: pki.Drain, File: "early"}))
	assert.Equal(t, early, readCertificate(t, filepath.Join(dir, "early.crt")).NotBefore, "not valid before its CA")
}

func TestIssueWithoutAUsableCA(t *testing.T) {
	request := pki.Request{Now: now, Use: pki.Drain}
	require.ErrorIs(t, pki.Issue("", request), pki.ErrInvalid)

	err := pki.Issue(t.TempDir(), request)
	require.ErrorIs(t, err, fs.ErrNotExist)
	assert.ErrorContains(t, err, "there is no CA here")

	dir, result := newPKI(t)
	other := readPKI(t)
	copied := func(from, to string) {
		text, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(to, text, 0o600))
	}
	original := filepath.Join(t.TempDir(), "ca.key")
	copied(result.CA.Key, original)

	request.Now = result.CA.NotAfter.Add(time.Second)
	require.ErrorContains(t, pki.Issue(dir, request), result.CA.Certificate+" expired at")
	request.Now = now.Add(-2 * time.Hour)
	require.ErrorContains(t, pki.Issue(dir, request), "is not valid before")
	request.Now = now

	copied(other.CA.Key, result.CA.Key)
	require.ErrorContains(t, pki.Issue(dir, request), result.CA.Key+" is not the key of")
	copied(result.Host.Key, result.CA.Key)
	require.ErrorContains(t, pki.Issue(dir, request), result.CA.Key+": no private key in PEM form")
	copied(original, result.CA.Key)
	copied(result.Edge.Certificate, result.CA.Certificate)
	require.ErrorContains(t, pki.Issue(dir, request), "is not the certificate of a CA")
	require.NoError(t, os.WriteFile(result.CA.Certificate, []byte("torn"), 0o600))
	require.ErrorContains(t, pki.Issue(dir, request), result.CA.Certificate+": no certificate in PEM form")
	require.NoError(t, os.Remove(result.CA.Key))
	require.Error(t, pki.Issue(dir, request))
	assert.NotContains(t, names(t, dir), "drain-foreman.key")
}

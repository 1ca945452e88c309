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
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// serials numbers certificates; issuers need not have their own numbers here.
var serials atomic.Int64

// authority is a CA made for a test.
type authority struct {
	t     *testing.T
	above *authority // nil: it has signed itself
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, above *authority, subject pkix.Name) *authority {
	t.Helper()
	a := &authority{t: t, above: above}
	template := &x509.Certificate{Subject: subject, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	if above == nil {
		a.key = newKey(t)
		a.cert = sign(t, template, template, a.key, a.key)
		return a
	}
	a.key = newKey(t)
	a.cert = sign(t, template, above.cert, a.key, above.key)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func sign(t *testing.T, template, parent *x509.Certificate, key, by *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	template.SerialNumber = big.NewInt(serials.Add(1))
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return cert
}

// issue makes a certificate for a client, with those of the CAs between.
func (a *authority) issue(cn string, change func(*x509.Certificate)) tls.Certificate {
	a.t.Helper()
	template := &x509.Certificate{Subject: pkix.Name{CommonName: cn}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if change != nil {
		change(template)
	}
	key := newKey(a.t)
	leaf := sign(a.t, template, a.cert, key, a.key)
	pair := tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	for ca := a; ca.above != nil; ca = ca.above {
		pair.Certificate = append(pair.Certificate, ca.cert.Raw)
	}
	return pair
}

// server makes a certificate for 127.0.0.1.
func (a *authority) server() tls.Certificate {
	return a.issue("relay", func(c *x509.Certificate) {
		c.IPAddresses, c.ExtKeyUsage = []net.IP{net.IPv4(127, 0, 0, 1)}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
}

// crl is what the CA has revoked, in PEM.
func (a *authority) crl(revoked ...*x509.Certificate) []byte {
	a.t.Helper()
	var entries []x509.RevocationListEntry
	for _, c := range revoked {
		entries = append(entries, x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: time.Now()})
	}
	return a.list(entries...)
}

func (a *authority) list(entries ...x509.RevocationListEntry) []byte {
	a.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(serials.Add(1)), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour),
		RevokedCertificateEntries: entries}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	require.NoError(a.t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

func certificatesPEM(all ...*x509.Certificate) []byte {
	var text []byte
	for _, c := range all {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return text
}

func keyPEM(t *testing.T, pair tls.Certificate) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// put replaces a file as a whole, as tools do.
func put(t *testing.T, path string, text []byte) string {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", text, 0o600))
	require.NoError(t, os.Rename(path+".new", path))
	return path
}

// tree is the CAs of the tests: two tenants' and a stranger's. What is in ours is
// trusted.
type tree struct {
	acme, between, beta, stranger *authority
	ours                          []*x509.Certificate
	dir                           string
}

func newTree(t *testing.T) *tree {
	t.Helper()
	k := &tree{dir: t.TempDir(), acme: newAuthority(t, nil, pkix.Name{CommonName: "ACME CA", Organization: []string{"ACME Inc"}}),
		beta: newAuthority(t, nil, pkix.Name{CommonName: "Beta CA"}), stranger: newAuthority(t, nil, pkix.Name{CommonName: "Stranger CA"})}
	k.between = newAuthority(t, k.acme, pkix.Name{CommonName: "ACME hosts"})
	k.ours = []*x509.Certificate{k.acme.cert, k.between.cert, k.beta.cert}
	return k
}

func (k *tree) file(name string) string { return filepath.Join(k.dir, name) }

func mustURL(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	require.NoError(t, err)
	return u
}

package pki_test

import (
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/theforeman/foreman-relay/cmd/pki"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(sharedDir())
		os.Exit(code)
	}))
}

// sharedDir is where the tests that only read find their PKI: RSA keys take
// long to make.
var sharedDir = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "pki-test-*")
	if err != nil {
		panic(err)
	}
	return dir
})

var sharedPKI = sync.OnceValues(func() (pki.Result, error) { return initAll(sharedDir()) })

// now is the real time, since a handshake looks at the real clock.
var now = time.Now()

const hostName = "web01.example.com"

// readPKI is a PKI with everything in it, which the test does not change.
func readPKI(t *testing.T) pki.Result {
	t.Helper()
	result, err := sharedPKI()
	require.NoError(t, err)
	return result
}

// newPKI makes such a PKI for one test.
func newPKI(t *testing.T) (string, pki.Result) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pki")
	result, err := initAll(dir)
	require.NoError(t, err)
	return dir, result
}

func initAll(dir string) (pki.Result, error) {
	return pki.Init(dir, pki.Options{
		Now:       now,
		EdgeNames: []string{"Edge.example.com", "*.edge.example.com", "LOCALHOST"},
		EdgeIPs:   []net.IP{net.ParseIP("192.0.2.7"), net.ParseIP("2001:db8::7"), net.IPv4(127, 0, 0, 1).To4()},
		Host:      "Web01.Example.COM",
	})
}

func readCertificate(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	certificate, err := x509.ParseCertificate(readBlock(t, path, "CERTIFICATE"))
	require.NoError(t, err)
	return certificate
}

func readBlock(t *testing.T, path, kind string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	block, rest := pem.Decode(text)
	require.NotNil(t, block, path)
	require.Equal(t, kind, block.Type)
	require.Empty(t, rest)
	return block.Bytes
}

func roots(t *testing.T, path string) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(readCertificate(t, path))
	return pool
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	found := []string{}
	for _, entry := range entries {
		found = append(found, entry.Name())
	}
	return found
}

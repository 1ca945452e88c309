package handlers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/theforeman/foreman-relay/relay"
)

// CertificateFiles are what a TLS listener is made of, all in PEM; a CRL may be
// DER too.
type CertificateFiles struct {
	Cert, Key string
	ClientCA  string   // of the clients' certificates; empty: none are asked for
	CRLs      []string // of CAs in ClientCA
	// Optional: a client without a certificate is let in, to what needs none.
	Optional bool
}

// Bounds of the files, in bytes: a CRL of a large CA has some megabytes.
const (
	maxCertificateFile = 1 << 20
	maxTrustFile       = 64 << 20
)

// pollFiles is how often the files are looked at. A file must be the same at two
// looks, so that none is read that is still being written.
const pollFiles = time.Second

// Certificates are a listener's TLS, as its files have it at this moment. A
// connection keeps what it began with; what clients show is held against the
// newest at each request.
type Certificates struct {
	files   CertificateFiles
	metrics *Metrics
	log     zerolog.Logger
	now     relay.Clock
	present atomic.Pointer[material]
	loaded  []os.FileInfo // as they were when they were read last
	told    []string      // the issuers of the CRLs that were said to be outdated
}

// material is all that one reading of the files gives.
type material struct {
	config  *tls.Config
	clients *authorities // nil: no certificates are asked for
}

// OpenCertificates reads the files; an error names the one that is at fault.
func OpenCertificates(files CertificateFiles, now relay.Clock, metrics *Metrics, log zerolog.Logger) (*Certificates, error) {
	c := &Certificates{files: files, now: now, metrics: metrics, log: log}
	c.loaded = c.look()
	m, err := c.read()
	if err != nil {
		return nil, err
	}
	c.present.Store(m)
	c.tellOutdated()
	return c, nil
}

// TLS is the listener's configuration: TLS 1.2 or newer, and of TLS 1.2 only what
// keeps past sessions secret and is authenticated.
func (c *Certificates) TLS() *tls.Config {
	config := baseTLS()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.present.Load().config, nil }
	return config
}

func baseTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, CipherSuites: []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256}}
}

// Run reads the files again whenever they have changed, until ctx ends. What
// cannot be used is logged and counted, and the last good ones stay.
func (c *Certificates) Run(ctx context.Context) {
	tick := time.NewTicker(pollFiles)
	defer tick.Stop()
	seen := c.loaded
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		c.tellOutdated()
		before := seen
		if seen = c.look(); same(seen, before) && !same(seen, c.loaded) {
			c.loaded = seen
			c.reload()
		}
	}
}

// tellOutdated tells of CRLs that have become outdated, once of each: the CA's
// distribution fails while the edge runs, not when it starts.
func (c *Certificates) tellOutdated() {
	clients := c.present.Load().clients
	if clients == nil {
		return
	}
	names := clients.outdated(c.now())
	for _, name := range names {
		if !slices.Contains(c.told, name) {
			c.log.Warn().Str("issuer", name).Msg("a CRL is older than its CA wanted: it holds, but who was revoked since is let in; fetch a new one")
		}
	}
	c.told = names
}

func (c *Certificates) reload() {
	m, err := c.read()
	c.metrics.reloaded(err)
	if err != nil {
		c.log.Error().Err(err).Msg("changed TLS files cannot be used: the ones before stay in use; mend the file")
		return
	}
	c.present.Store(m)
	c.log.Info().Str("cert", c.files.Cert).Msg("changed TLS files are in use")
}

// look tells the files' state; nil for one that is not there.
func (c *Certificates) look() []os.FileInfo {
	all := make([]os.FileInfo, 0, 3+len(c.files.CRLs))
	for _, path := range append([]string{c.files.Cert, c.files.Key, c.files.ClientCA}, c.files.CRLs...) {
		info, err := os.Stat(path)
		if err != nil {
			info = nil
		}
		all = append(all, info)
	}
	return all
}

// same: a file that was replaced is another one, also when it has the same size
// and time.
func same(a, b []os.FileInfo) bool {
	return slices.EqualFunc(a, b, func(x, y os.FileInfo) bool {
		if x == nil || y == nil {
			return x == nil && y == nil
		}
		return os.SameFile(x, y) && x.ModTime().Equal(y.ModTime()) && x.Size() == y.Size()
	})
}

func (c *Certificates) read() (*material, error) {
	cert, err := readPair(c.files.Cert, c.files.Key)
	if err != nil {
		return nil, err
	}
	m := &material{config: baseTLS()}
	m.config.Certificates = []tls.Certificate{cert}
	if c.files.ClientCA == "" {
		return m, nil
	}
	if m.clients, err = readAuthorities(c.files.ClientCA, c.files.CRLs); err != nil {
		return nil, err
	}
	// Whether a certificate is good is said at each request, in words; the
	// handshake only has its owner prove that the key is his.
	m.config.ClientCAs, m.config.ClientAuth = m.clients.anchors, tls.RequireAnyClientCert
	if c.files.Optional {
		m.config.ClientAuth = tls.RequestClientCert
	}
	return m, nil
}

func readPair(certFile, keyFile string) (tls.Certificate, error) {
	cert, err := readFile(certFile, maxCertificateFile)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate: %w", err)
	}
	key, err := readFile(keyFile, maxCertificateFile)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("key: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return pair, fmt.Errorf("certificate %s and key %s: %w", certFile, keyFile, err)
	}
	return pair, nil
}

func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return text, err
}

// verify holds what a client has shown against the newest files; nil where it
// has shown nothing.
func (c *Certificates) verify(shown []*x509.Certificate) (*relay.Credential, *relay.Error) {
	clients := c.present.Load().clients
	if clients == nil || len(shown) == 0 {
		return nil, nil
	}
	return clients.verify(shown, c.now())
}

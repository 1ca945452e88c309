package broker

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/rs/zerolog"
)

// linkTLS is the TLS of one end of the narrow channel. Its files are read again
// when they change: a certificate is renewed, or revoked, without a restart.
type linkTLS struct {
	files [4]string // certificate, key, CA, and the revocations; the last may be empty
	log   zerolog.Logger

	mu     sync.Mutex
	seen   [4]os.FileInfo
	held   *linkMaterial
	change chan struct{} // holds one: who may come in has changed
}

// linkMaterial is what the files held when they were read.
type linkMaterial struct {
	certificate tls.Certificate
	pool        *x509.CertPool
	trust       []byte          // CA and revocations as they were read
	revoked     map[string]bool // by issuer and serial number
}

// openLinkTLS reads the files; what is wrong with them at the start ends it.
func openLinkTLS(cert, key, ca, crl string, log zerolog.Logger) (*linkTLS, error) {
	l := &linkTLS{files: [4]string{cert, key, ca, crl}, log: log, change: make(chan struct{}, 1)}
	l.seen = l.look()
	var err error
	l.held, err = l.read()
	return l, err
}

// look is how the files look now; nil: it is not there, or not given.
func (l *linkTLS) look() (seen [4]os.FileInfo) {
	for i, file := range l.files {
		if info, err := os.Stat(file); file != "" && err == nil {
			seen[i] = info
		}
	}
	return seen
}

// current is what the files hold. Files that cannot be read, or do not belong
// together yet, leave what was read last.
func (l *linkTLS) current() *linkMaterial {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := l.look()
	if sameFiles(seen, l.seen) {
		return l.held
	}
	l.seen = seen
	m, err := l.read()
	if err != nil {
		l.log.Error().Err(err).Msg("the certificates of the channel have changed and cannot be used; those from before still hold")
		return l.held
	}
	if !bytes.Equal(m.trust, l.held.trust) {
		signal(l.change)
	}
	l.held = m
	l.log.Info().Str("certificate", l.files[0]).Msg("the certificates of the channel were read again")
	return m
}

func sameFiles(a, b [4]os.FileInfo) bool {
	for i := range a {
		switch {
		case (a[i] == nil) != (b[i] == nil):
			return false
		case a[i] == nil:
		case !os.SameFile(a[i], b[i]) || !a[i].ModTime().Equal(b[i].ModTime()) || a[i].Size() != b[i].Size():
			return false
		}
	}
	return true
}

func (l *linkTLS) read() (*linkMaterial, error) {
	cert, key, ca, crl := l.files[0], l.files[1], l.files[2], l.files[3]
	m := &linkMaterial{pool: x509.NewCertPool(), revoked: map[string]bool{}}
	var err error
	if m.certificate, err = tls.LoadX509KeyPair(cert, key); err != nil {
		return nil, fmt.Errorf("certificate %s and key %s: %w", cert, key, err)
	}
	if m.trust, err = os.ReadFile(ca); err != nil {
		return nil, fmt.Errorf("CA: %w", err)
	}
	authorities, err := parseAuthorities(m.trust)
	if err != nil {
		return nil, fmt.Errorf("CA %s: %w", ca, err)
	}
	for _, a := range authorities {
		m.pool.AddCert(a)
	}
	if crl == "" {
		return m, nil
	}
	text, err := os.ReadFile(crl)
	if err != nil {
		return nil, fmt.Errorf("revocations: %w", err)
	}
	m.trust = append(m.trust, text...)
	if err := m.revoke(text, authorities); err != nil {
		return nil, fmt.Errorf("revocations %s: %w", crl, err)
	}
	return m, nil
}

func parseAuthorities(text []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for _, der := range blocks(text, "CERTIFICATE") {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, errors.New("it holds no certificate in PEM")
	}
	return all, nil
}

func blocks(text []byte, kind string) (der [][]byte) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == kind {
			der = append(der, block.Bytes)
		}
	}
	return der
}

// revoke reads the lists of revoked certificates. One that none of the CAs has
// signed is refused: it would revoke nothing, in silence. One past its date still
// holds; what it revokes does not become good again.
func (m *linkMaterial) revoke(text []byte, authorities []*x509.Certificate) error {
	lists := blocks(text, "X509 CRL")
	if len(lists) == 0 {
		return errors.New("it holds no list in PEM (X509 CRL)")
	}
	for _, der := range lists {
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return err
		}
		signed := false
		for _, a := range authorities {
			signed = signed || bytes.Equal(a.RawSubject, list.RawIssuer) && list.CheckSignatureFrom(a) == nil
		}
		if !signed {
			return fmt.Errorf("the list of %s is signed by none of the CAs in use", list.Issuer)
		}
		for _, entry := range list.RevokedCertificateEntries {
			m.revoked[revokedKey(list.RawIssuer, entry.SerialNumber.Bytes())] = true
		}
	}
	return nil
}

func revokedKey(issuer, serial []byte) string { return string(issuer) + "\x00" + string(serial) }

// errRevoked: the certificate of the other side is on a list of its CA.
var errRevoked = errors.New("the certificate is revoked")

// check refuses a peer with no chain that is free of revoked certificates.
func (m *linkMaterial) check(state tls.ConnectionState) error {
	for _, chain := range state.VerifiedChains {
		clean := true
		for _, c := range chain {
			clean = clean && !m.revoked[revokedKey(c.RawIssuer, c.SerialNumber.Bytes())]
		}
		if clean {
			return nil
		}
	}
	return errRevoked
}

// admits says why a drain's certificate, with what came along, does not hold any
// more, if it does not.
func (m *linkMaterial) admits(peer []*x509.Certificate) error {
	between := x509.NewCertPool()
	for _, c := range peer[1:] {
		between.AddCert(c)
	}
	chains, err := peer[0].Verify(x509.VerifyOptions{Roots: m.pool, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return err
	}
	return m.check(tls.ConnectionState{VerifiedChains: chains})
}

// server is the configuration of the port. Sessions are not resumed: each
// connection is held against the files as they are.
func (l *linkTLS) server() *tls.Config {
	with := func() *tls.Config {
		m := l.current()
		return &tls.Config{Certificates: []tls.Certificate{m.certificate}, ClientCAs: m.pool, ClientAuth: tls.RequireAndVerifyClientCert,
			MinVersion: tls.VersionTLS12, SessionTicketsDisabled: true, VerifyConnection: m.check}
	}
	config := with()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return with(), nil }
	return config
}

// client is the configuration of a drain, for every dial anew: certificate and CA
// come from the two functions.
func (l *linkTLS) client() (config *tls.Config, certificate func() (tls.Certificate, error), authorities func() (*x509.CertPool, error)) {
	config = &tls.Config{MinVersion: tls.VersionTLS12, VerifyConnection: func(s tls.ConnectionState) error { return l.current().check(s) }}
	return config, func() (tls.Certificate, error) { return l.current().certificate, nil },
		func() (*x509.CertPool, error) { return l.current().pool, nil }
}

package handlers

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/theforeman/foreman-relay/relay"
)

// authorities are the CAs that clients' certificates may be of, with what they
// have revoked. They do not change: new files make new ones.
type authorities struct {
	all     []*x509.Certificate
	anchors *x509.CertPool // but for those that another of them has revoked
	between *x509.CertPool // all of them, to build chains with
	crls    []*x509.RevocationList
	revoked map[[sha256.Size]byte]map[string]struct{} // serial numbers by issuer

	mu    sync.Mutex
	known *simplelru.LRU[[sha256.Size]byte, verified]
}

// verified is a certificate that was found to be good, and when it is.
type verified struct {
	credential  *relay.Credential
	from, until time.Time
}

// Bounds of what a client may make the relay work on and remember.
const (
	maxShown    = 8    // certificates in what it shows
	maxVerified = 4096 // certificates whose signatures need not be checked again
)

func readAuthorities(caFile string, crlFiles []string) (*authorities, error) {
	a := &authorities{anchors: x509.NewCertPool(), between: x509.NewCertPool(), revoked: map[[sha256.Size]byte]map[string]struct{}{}}
	a.known, _ = simplelru.NewLRU[[sha256.Size]byte, verified](maxVerified, nil) // it fails for no entries only
	text, err := readFile(caFile, maxTrustFile)
	if err != nil {
		return nil, fmt.Errorf("client CA: %w", err)
	}
	if a.all, err = ParseCertificates(text); err != nil {
		return nil, fmt.Errorf("client CA: %s: %w", caFile, err)
	}
	for _, path := range crlFiles {
		if err := a.readCRLs(path, caFile); err != nil {
			return nil, err
		}
	}
	for _, ca := range a.all {
		a.between.AddCert(ca)
		if !slices.ContainsFunc(a.all, func(above *x509.Certificate) bool { return a.hasRevoked(above, ca) }) {
			a.anchors.AddCert(ca)
		}
	}
	return a, nil
}

// OutdatedCRLs are the issuers whose lists should have been replaced by now; an
// error says which file cannot be used.
func OutdatedCRLs(clientCA string, crls []string, now time.Time) ([]string, error) {
	a, err := readAuthorities(clientCA, crls)
	if err != nil {
		return nil, err
	}
	return a.outdated(now), nil
}

// ParseCertificates reads all certificates of a text in PEM, one at least.
func ParseCertificates(text []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("a certificate cannot be read: %w", err)
		}
		all = append(all, cert)
	}
	if len(all) == 0 {
		return nil, errors.New("it holds no certificate in PEM")
	}
	return all, nil
}

// readCRLs adds what a file revokes. What several lists of one CA revoke is
// revoked, whichever is newer.
func (a *authorities) readCRLs(path, caFile string) error {
	text, err := readFile(path, maxTrustFile)
	if err != nil {
		return fmt.Errorf("CRL: %w", err)
	}
	found := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if found++; block.Type != "X509 CRL" {
			return fmt.Errorf("CRL: %s holds a %s", path, block.Type)
		}
		if err := a.addCRL(block.Bytes); err != nil {
			return fmt.Errorf("CRL: %s: %w (the CAs are those of %s)", path, err, caFile)
		}
	}
	if found > 0 {
		return nil
	}
	if err := a.addCRL(text); err != nil {
		return fmt.Errorf("CRL: %s: %w (the CAs are those of %s)", path, err, caFile)
	}
	return nil
}

func (a *authorities) addCRL(der []byte) error {
	crl, err := x509.ParseRevocationList(der)
	if err != nil {
		return fmt.Errorf("it cannot be read: %w", err)
	}
	i := slices.IndexFunc(a.all, func(ca *x509.Certificate) bool {
		return bytes.Equal(ca.RawSubject, crl.RawIssuer) && crl.CheckSignatureFrom(ca) == nil
	})
	if i < 0 {
		return fmt.Errorf("the list of %q is signed by no CA that is trusted here", crl.Issuer.String())
	}
	if slices.ContainsFunc(crl.RevokedCertificateEntries, ofAnother) {
		return fmt.Errorf("the list of %q names certificates of other CAs: an indirect list cannot be used, give each CA's own", crl.Issuer.String())
	}
	by := authorityKey(a.all[i])
	if a.revoked[by] == nil {
		a.revoked[by] = map[string]struct{}{}
	}
	for _, entry := range crl.RevokedCertificateEntries {
		a.revoked[by][entry.SerialNumber.String()] = struct{}{}
	}
	crl.RevokedCertificateEntries, crl.Raw, crl.RawTBSRevocationList = nil, nil, nil // a large one need not stay twice
	a.crls = append(a.crls, crl)
	return nil
}

// ofAnother: the entry, and those behind it, are of another CA than the list's
// (RFC 5280, 5.3.3).
func ofAnother(entry x509.RevocationListEntry) bool {
	return slices.ContainsFunc(entry.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(certificateIssuer) })
}

// authorityKey stands for a CA whose certificate may have been renewed.
func authorityKey(ca *x509.Certificate) [sha256.Size]byte {
	return sha256.Sum256(slices.Concat(ca.RawSubject, ca.RawSubjectPublicKeyInfo))
}

func (a *authorities) hasRevoked(issuer, cert *x509.Certificate) bool {
	if !bytes.Equal(issuer.RawSubject, cert.RawIssuer) {
		return false
	}
	_, revoked := a.revoked[authorityKey(issuer)][cert.SerialNumber.String()]
	return revoked
}

// outdated are the issuers whose list should have been replaced by now.
func (a *authorities) outdated(now time.Time) []string {
	var names []string
	for _, crl := range a.crls {
		if !crl.NextUpdate.IsZero() && now.After(crl.NextUpdate) {
			names = append(names, crl.Issuer.String())
		}
	}
	return names
}

// verify says whose a certificate is that its owner has proved to be his, or why
// it is not good at this time.
func (a *authorities) verify(shown []*x509.Certificate, now time.Time) (*relay.Credential, *relay.Error) {
	key := sha256.Sum256(shown[0].Raw)
	a.mu.Lock()
	known, ok := a.known.Get(key)
	a.mu.Unlock()
	if ok && !now.Before(known.from) && !now.After(known.until) {
		return known.credential, nil
	}
	chains, refused := a.chains(shown, now)
	if refused != nil {
		return nil, refused
	}
	v := verified{credential: credentialOf(shown[0], a.issuers(chains)), from: shown[0].NotBefore, until: shown[0].NotAfter}
	if !slices.ContainsFunc(chains, free) && !slices.Contains(shown[0].DNSNames, v.credential.CN) {
		v.credential.CN = "" // crypto/x509 has held the DNS names against what the CA may name, and not this
	}
	for _, c := range slices.Concat(chains...) {
		v.from, v.until = latest(v.from, c.NotBefore), earliest(v.until, c.NotAfter)
	}
	a.mu.Lock()
	a.known.Add(key, v)
	a.mu.Unlock()
	return v.credential, nil
}

// free says whether the CAs of a chain may name any host.
func free(chain []*x509.Certificate) bool {
	return !slices.ContainsFunc(chain[1:], func(c *x509.Certificate) bool { return len(c.PermittedDNSDomains)+len(c.ExcludedDNSDomains) > 0 })
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// chains lead from a certificate to CAs that are trusted, past none that was
// revoked.
func (a *authorities) chains(shown []*x509.Certificate, now time.Time) ([][]*x509.Certificate, *relay.Error) {
	if len(shown) > maxShown {
		return nil, notKnown(relay.RefusedUnknownCA, "the client shows %d certificates, more than %d: send its own and those of the CAs between", len(shown), maxShown)
	}
	between := a.between.Clone()
	for _, c := range shown[1:] {
		between.AddCert(c)
	}
	chains, err := shown[0].Verify(x509.VerifyOptions{Roots: a.anchors, Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return nil, unverified(shown[0], err, now)
	}
	if chains = slices.DeleteFunc(chains, a.revokes); len(chains) == 0 {
		return nil, notKnown(relay.RefusedRevoked, "the certificate, or a CA above it, was revoked by its CA: a new certificate is needed")
	}
	return chains, nil
}

func (a *authorities) revokes(chain []*x509.Certificate) bool {
	for i := range len(chain) - 1 {
		if a.hasRevoked(chain[i+1], chain[i]) {
			return true
		}
	}
	return false
}

// unverified says why a certificate is not good.
func unverified(cert *x509.Certificate, err error, now time.Time) *relay.Error {
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && now.Before(cert.NotBefore):
		return notKnown(relay.RefusedExpired, "the certificate is not valid before %s: set the clock right, or wait", cert.NotBefore.UTC().Format(time.RFC3339))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && now.After(cert.NotAfter):
		return notKnown(relay.RefusedExpired, "the certificate has ended at %s: renew it", cert.NotAfter.UTC().Format(time.RFC3339))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return notKnown(relay.RefusedExpired, "a CA above the certificate has ended, or is not valid yet: renew it")
	case errors.As(err, &unknown):
		return notKnown(relay.RefusedUnknownCA, "no CA that is trusted here vouches for the certificate: use one of a CA in tls.client_ca, and send the CAs between")
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return notKnown(relay.RefusedUnusable, "the certificate is not one for clients: it must have the extended key usage clientAuth, or none")
	}
	return notKnown(relay.RefusedUnusable, "the certificate cannot be used: %s", relay.Excerpt([]byte(err.Error())))
}

func notKnown(reason, format string, args ...any) *relay.Error {
	return relay.Refuse(relay.CodeUnauthenticated, format, args...).Because(reason)
}

// issuers are the subjects of those above a certificate that the operator has
// named himself: a CA between may call itself what it likes.
func (a *authorities) issuers(chains [][]*x509.Certificate) []string {
	var names []string
	for _, chain := range chains {
		for i, c := range chain {
			name := c.Subject.String()
			if (i > 0 || len(chain) == 1) && slices.ContainsFunc(a.all, c.Equal) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// credentialOf is what the rules look at of a certificate.
func credentialOf(cert *x509.Certificate, issuers []string) *relay.Credential {
	print := sha256.Sum256(cert.Raw)
	c := &relay.Credential{Fingerprint: hex.EncodeToString(print[:]), Issuers: issuers, CN: cert.Subject.CommonName, DNSNames: cert.DNSNames}
	count := 0
	for _, field := range cert.Subject.Names {
		if field.Type.Equal(commonName) {
			count++
		}
	}
	if count > 1 {
		c.CN = ""
	}
	if o := cert.Subject.Organization; len(o) == 1 {
		c.Organization = o[0]
	}
	for _, u := range cert.URIs {
		c.URIs = append(c.URIs, u.String())
	}
	return c
}

// commonName is 2.5.4.3 (RFC 4519, 2.3).
var commonName = []int{2, 5, 4, 3}

// certificateIssuer is 2.5.29.29.
var certificateIssuer = []int{2, 5, 29, 29}

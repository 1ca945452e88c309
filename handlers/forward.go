package handlers

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/theforeman/foreman-relay/relay"
)

// Forward is how a reverse proxy says whose certificate it has verified. Only
// what comes from its addresses is believed; from others these headers are taken
// away unread.
type Forward struct {
	From   []netip.Prefix // of the proxies; none: no header is believed
	Verify string         // header that says SUCCESS, NONE or FAILED:…, as Apache and nginx do
	DN     string         // header with the subject, as RFC 2253 writes it
	Cert   string         // header with the certificate, PEM with percent-encoding; it counts more than DN
	// Address is a header to whose end the proxy adds the client's address; empty:
	// the proxy's own is all that is known.
	Address string
}

// DefaultForward has the headers' names and no addresses.
func DefaultForward() Forward {
	return Forward{Verify: "X-SSL-Client-Verify", DN: "X-SSL-Client-DN", Cert: "X-SSL-Client-Cert"}
}

// claims are what a proxy says of the client.
type claims struct {
	verify, dn, cert string
	twice            bool // a header that is there twice, so that one may be the client's own
}

// take takes the headers out of a request; false where they are not to be
// believed.
func (f Forward) take(r *http.Request) (claims, bool) {
	var said claims
	for name, to := range map[string]*string{f.Verify: &said.verify, f.DN: &said.dn, f.Cert: &said.cert} {
		if name == "" {
			continue
		}
		values := r.Header.Values(name)
		if len(values) > 0 {
			*to = strings.TrimSpace(values[0])
		}
		said.twice = said.twice || len(values) > 1
		r.Header.Del(name)
	}
	if !f.believes(r.RemoteAddr) {
		return said, false
	}
	f.takeAddress(r)
	return said, true
}

// takeAddress makes the client's address the one that the request comes from.
func (f Forward) takeAddress(r *http.Request) {
	values := r.Header.Values(f.Address)
	if f.Address == "" || len(values) == 0 {
		return
	}
	last := values[len(values)-1]
	if i := strings.LastIndexByte(last, ','); i >= 0 {
		last = last[i+1:]
	}
	if ip, err := netip.ParseAddr(strings.TrimSpace(last)); err == nil {
		r.RemoteAddr = netip.AddrPortFrom(ip, 0).String()
	}
}

func (f Forward) believes(remote string) bool {
	address, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	ip := address.Addr().Unmap().WithZone("")
	return slices.ContainsFunc(f.From, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// forwarded is the caller that a proxy tells of. Its own certificate, if it has
// one, never stands for its clients.
func (c *Callers) forwarded(said claims) caller {
	k := caller{secure: true, shown: shortened(said.dn)}
	state, detail, _ := strings.Cut(strings.ToLower(said.verify), ":")
	switch {
	case said.twice:
		k.refused = notKnown(relay.RefusedUnusable, "the proxy lets a client write the headers that say who it is: have it set them, not add to them")
	case state == "" || state == "none":
	case state != "success":
		k.refused = failedAtProxy(detail)
	case said.cert != "":
		return c.forwardedCertificate(k, said.cert)
	case said.dn != "":
		k.credential, k.refused = credentialOfDN(said.dn)
	default:
		k.refused = notKnown(relay.RefusedUnusable, "the proxy says that there is a good certificate, and not which: have it send %s or %s", c.Forward.Cert, c.Forward.DN)
	}
	return k
}

func failedAtProxy(detail string) *relay.Error {
	reason := relay.RefusedUnknownCA
	switch {
	case strings.Contains(detail, "expired"), strings.Contains(detail, "not yet valid"):
		reason = relay.RefusedExpired
	case strings.Contains(detail, "revoked"):
		reason = relay.RefusedRevoked
	}
	return notKnown(reason, "the proxy has not taken the certificate: %s", relay.Excerpt([]byte(detail)))
}

// maxForwarded bounds a certificate in a header, in bytes.
const maxForwarded = 16 << 10

// forwardedCertificate holds the certificate against the relay's own CAs and
// CRLs, where it has any; else the proxy is believed but for the time.
func (c *Callers) forwardedCertificate(k caller, text string) caller {
	cert, err := certificateIn(text)
	if err != nil {
		k.refused = notKnown(relay.RefusedUnusable, "the proxy's header %s: %s", c.Forward.Cert, err)
		return k
	}
	if c.Certificates != nil && c.Certificates.files.ClientCA != "" {
		return c.certified(k, []*x509.Certificate{cert})
	}
	if now := c.Now(); now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
		k.refused = notKnown(relay.RefusedExpired, "the certificate that the proxy passes on is not valid at this time: renew it")
		return k
	}
	// The name of the issuer in it says nothing: a CA that the proxy trusts may have
	// made one that calls itself like another.
	k.credential = credentialOf(cert, nil)
	return k
}

func certificateIn(text string) (*x509.Certificate, error) {
	if len(text) > maxForwarded {
		return nil, errors.New("it is too long for a certificate")
	}
	plain, err := url.PathUnescape(text) // a plus is a plus in base64
	if err != nil {
		return nil, errors.New("it is not percent-encoded")
	}
	block, _ := pem.Decode([]byte(plain))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("it is no certificate in PEM; percent-encode its line breaks")
	}
	return x509.ParseCertificate(block.Bytes)
}

func shortened(s string) string { return s[:min(len(s), 255)] }

package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/url"
	"slices"
	"time"
)

// organization tells the certificates made here from others, and the CA's
// subject from that of a host of the same name.
const organization = "foreman-relay"

// backdate is how far the clocks of two machines may be apart on the first day.
const backdate = time.Hour

// caTemplate is a CA that signs end certificates only (path length 0).
func caTemplate(name string, now time.Time) *x509.Certificate {
	from := notBefore(now)
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: name, Organization: []string{organization}},
		NotBefore:             from,
		NotAfter:              from.AddDate(caYears, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
}

// template is what the certificate says about its holder; authority.sign adds
// the rest.
func (r Request) template() *x509.Certificate {
	t := &x509.Certificate{
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true, // and no CA
	}
	switch r.Use {
	case Edge:
		t.Subject = pkix.Name{CommonName: "edge", Organization: []string{organization}}
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		t.DNSNames = r.serverNames()
		t.IPAddresses = r.serverIPs()
	case Drain:
		t.Subject = pkix.Name{CommonName: "drain", Organization: []string{organization}}
		t.URIs = []*url.URL{{Scheme: "foreman-relay", Host: "drain", Path: "/" + r.Destination}}
	case Host: // nothing but its name: that is what identifies it to Foreman
		t.Subject = pkix.Name{CommonName: r.Host}
		t.DNSNames = []string{r.Host}
	}
	return t
}

// serverNames are the names of an edge, each once.
func (r Request) serverNames() []string {
	names := []string{"localhost"}
	for _, name := range r.Names {
		if name = lower(name); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// serverIPs are the addresses of an edge, each once.
func (r Request) serverIPs() []net.IP {
	ips := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	for _, ip := range r.IPs {
		if !slices.ContainsFunc(ips, ip.Equal) {
			ips = append(ips, ip)
		}
	}
	return ips
}

func notBefore(now time.Time) time.Time { return now.UTC().Add(-backdate).Truncate(time.Second) }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

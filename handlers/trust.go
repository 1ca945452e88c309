package handlers

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

// Trust says who may ask the relay what only Foreman needs to know: the rules,
// and the words of the refusals, are those of Foreman's smart proxy (contract of
// its lib/sinatra/authorization.rb and lib/proxy/helpers.rb).
type Trust struct {
	// Hosts are the names that may ask, nil: whoever has a verified certificate,
	// and over plain HTTP anybody; empty: nobody.
	Hosts []string
	// Issuer is the subject of the CA, as RFC 2253 writes it, whose certificates may
	// bear these names; empty: any CA's that is trusted. Where tenants have CAs of
	// their own, each of them can give a certificate the name of Foreman.
	Issuer string
	// ForwardVerify: over plain HTTP the name of an address must lead back to it.
	ForwardVerify bool
	Resolver      Resolver // nil: the system's
}

// Resolver finds names; *net.Resolver is one.
type Resolver interface {
	LookupAddr(ctx context.Context, address string) ([]string, error)
	LookupHost(ctx context.Context, name string) ([]string, error)
}

// resolveTimeout bounds the look-ups for one request.
const resolveTimeout = 5 * time.Second

// refusal is why somebody may not ask, in the smart proxy's words; empty: he may.
func (t Trust) refusal(r *http.Request, k caller) string {
	if t.Hosts != nil {
		name, refusal := t.nameOf(r, k)
		if refusal != "" {
			return refusal
		}
		name = strings.ToLower(name)
		if !slices.ContainsFunc(t.Hosts, func(h string) bool { return strings.ToLower(h) == name }) || !t.vouched(k) {
			return fmt.Sprintf("Untrusted client %s attempted to access %s. Check :trusted_hosts: in settings.yml", name, r.URL.Path)
		}
	}
	if k.secure && k.credential == nil {
		return "No client SSL certificate supplied"
	}
	return ""
}

// vouched says whether the CA has made the certificate that makes those that count.
func (t Trust) vouched(k caller) bool {
	return t.Issuer == "" || !k.secure || k.credential != nil && slices.Contains(k.credential.Issuers, t.Issuer)
}

// nameOf is who asks.
func (t Trust) nameOf(r *http.Request, k caller) (name, refusal string) {
	if k.secure {
		return nameInCertificate(k.credential)
	}
	return t.nameOfAddress(r)
}

// nameInCertificate is the common name; alternative names do not count. The Ruby
// proxy searches the subject's text for the first "CN=", which may stand within
// another field, and stops at a blank; here it is the one common name, whole. A
// certificate that no CA vouches for is none.
func nameInCertificate(c *relay.Credential) (name, refusal string) {
	switch {
	case c == nil:
		return "", "could not read client cert from environment"
	case c.CN == "":
		return "", "could not read CN from the client certificate"
	}
	return c.CN, ""
}

// nameOfAddress is the name of the address that a request over plain HTTP comes from.
func (t Trust) nameOfAddress(r *http.Request) (name, refusal string) {
	ip, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil || ip == "" {
		return "", "could not get remote address from environment"
	}
	if strings.Contains(ip, "%") { // an address with its interface has no name
		return ip, ""
	}
	ctx, cancel := context.WithTimeout(r.Context(), resolveTimeout)
	defer cancel()
	names, err := t.resolver().LookupAddr(ctx, ip)
	if err != nil || len(names) == 0 {
		return "", fmt.Sprintf("unable to resolve hostname for ip address %s\n\nno name for %s", ip, ip)
	}
	name = strings.TrimSuffix(names[0], ".")
	if !t.ForwardVerify {
		return name, ""
	}
	addresses, err := t.resolver().LookupHost(ctx, name)
	if err != nil || !slices.ContainsFunc(addresses, func(a string) bool { return net.ParseIP(a).Equal(net.ParseIP(ip)) }) {
		return "", fmt.Sprintf("untrusted client has no matching forward DNS lookup - %s (%s)", name, ip)
	}
	return name, ""
}

func (t Trust) resolver() Resolver {
	if t.Resolver != nil {
		return t.Resolver
	}
	return net.DefaultResolver
}

package cmd

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay/foreman"
)

// SmartProxy is what the relay is to Foreman. Each relay of a machine has a name
// and a URL of its own.
type SmartProxy struct {
	Name     string   `yaml:"name" json:"name"` // in Foreman
	URL      string   `yaml:"url" json:"url"`   // where Foreman reaches the edge
	Features []string `yaml:"features" json:"features"`
	// The names in the certificates of those who may ask for features and log; null:
	// whoever has a certificate, as with a smart proxy; an empty list: nobody.
	TrustedHosts  *[]string `yaml:"trusted_hosts" json:"trusted_hosts"`
	TrustedIssuer string    `yaml:"trusted_issuer" json:"trusted_issuer"` // subject of the CA that must vouch for these names, as RFC 2253 writes it; empty: any in tls.client_ca
	ForwardVerify bool      `yaml:"forward_verify" json:"forward_verify"` // over plain HTTP: a name must lead back to its address
}

func defaultSmartProxy() SmartProxy {
	return SmartProxy{Features: foreman.DefaultFeatures(), ForwardVerify: true}
}

// maxProxyName is the length of Foreman's columns for name and URL.
const maxProxyName = 255

func (s SmartProxy) check() error {
	var problems []error
	if len(s.Name) > maxProxyName || strings.TrimSpace(s.Name) != s.Name {
		problems = append(problems, fmt.Errorf("smart_proxy.name is %q; it must have no blanks around it and at most %d characters", s.Name, maxProxyName))
	}
	if err := foreman.CheckFeatures(s.Features); err != nil {
		for line := range strings.Lines(err.Error()) {
			problems = append(problems, errors.New("smart_proxy.features: "+strings.TrimSpace(line)))
		}
	}
	if s.TrustedHosts != nil {
		for _, h := range *s.TrustedHosts {
			if h == "" || strings.ContainsAny(h, " /,*") {
				problems = append(problems, fmt.Errorf("smart_proxy.trusted_hosts: %q is no name of a host; patterns are not taken", h))
			}
		}
	}
	if s.TrustedIssuer != "" && s.TrustedHosts == nil {
		problems = append(problems, errors.New("smart_proxy.trusted_issuer says whose certificates may bear the names in smart_proxy.trusted_hosts: name Foreman there"))
	}
	return errors.Join(append(problems, s.checkURL())...)
}

func (s SmartProxy) checkURL() error {
	if s.URL == "" {
		return nil
	}
	u, err := url.Parse(s.URL)
	switch {
	case err != nil || u.User != nil:
		return errors.New("smart_proxy.url cannot be used; write https://HOST[:PORT], without a user") // its text may hold a password
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || len(s.URL) > maxProxyName:
		return fmt.Errorf("smart_proxy.url is %q; write https://HOST[:PORT], the address where Foreman reaches the edge", s.URL)
	}
	return nil
}

// smartProxy is how the edge answers Foreman.
func (s *server) smartProxy() handlers.SmartProxyOptions {
	c := s.config.SmartProxy
	o := handlers.SmartProxyOptions{Features: c.Features, Version: Version(), TLS: s.config.TLS.Cert != "", Loopback: s.config.alone(), Log: s.proxyLog,
		Trust: handlers.Trust{ForwardVerify: c.ForwardVerify, Issuer: c.TrustedIssuer}}
	if c.TrustedHosts != nil {
		o.Trust.Hosts = append([]string{}, *c.TrustedHosts...)
	}
	return o
}

package cmd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

// Identity is how callers are told apart, and for whom they may speak.
type Identity struct {
	Rules []relay.IdentityRule `yaml:"rules" json:"rules"` // the first that takes a certificate counts
	// The organization of certificates that no rule takes; null: `organization` where
	// there are no rules, else none; empty: none.
	DefaultOrganization *string           `yaml:"default_organization" json:"default_organization"`
	SpeaksFor           relay.Hosts       `yaml:"speaks_for" json:"speaks_for"` // of these: own, any, or a pattern
	Forward             Forward           `yaml:"forward" json:"forward"`
	Hosts               map[string]string `yaml:"hosts" json:"hosts"`                   // known to belong to an organization
	RememberHosts       int               `yaml:"remember_hosts" json:"remember_hosts"` // further ones, learnt; 0: none
}

// Forward is how a reverse proxy says whose certificate it has verified.
type Forward struct {
	From   []string `yaml:"from" json:"from"`     // addresses or networks of the proxies
	Verify string   `yaml:"verify" json:"verify"` // names of headers
	DN     string   `yaml:"dn" json:"dn"`
	Cert   string   `yaml:"cert" json:"cert"`

	Address string `yaml:"address" json:"address"` // to whose end the proxy adds the client's address; empty: none
}

// Whether clients have to show a certificate.
const (
	clientAuthRequire = "require"
	clientAuthRequest = "request"
)

func defaultIdentity() Identity {
	f := handlers.DefaultForward()
	return Identity{Rules: []relay.IdentityRule{}, SpeaksFor: relay.HostsOwn, Hosts: map[string]string{}, RememberHosts: handlers.DefaultRemember,
		Forward: Forward{From: []string{}, Verify: f.Verify, DN: f.DN, Cert: f.Cert}}
}

func (c *Config) checkIdentity() error {
	i := c.Identity
	problems := []error{among("tls.client_auth", c.TLS.ClientAuth, []string{clientAuthRequire, clientAuthRequest, ""}),
		within("identity.remember_hosts", i.RememberHosts, 0, 10_000_000), i.Forward.check()}
	if (c.TLS.ClientAuth != "" || len(c.TLS.CRL) > 0) && c.TLS.ClientCA == "" {
		problems = append(problems, errors.New("tls.client_auth and tls.crl need tls.client_ca: without it nobody is asked for a certificate"))
	}
	if (len(i.Rules) > 0 || i.DefaultOrganization != nil) && c.TLS.ClientCA == "" && len(i.Forward.From) == 0 {
		problems = append(problems, errors.New("identity.rules and identity.default_organization need tls.client_ca, or a proxy in identity.forward.from: without them nobody says who he is"))
	}
	for n, r := range i.Rules {
		problems = append(problems, checkRule(fmt.Sprintf("identity.rules[%d]", n), r))
		if r.Issuer != "" && c.TLS.ClientCA == "" {
			problems = append(problems, fmt.Errorf("identity.rules[%d].issuer needs tls.client_ca, behind a proxy too: only a CA that the relay has itself is known by its certificates, not by what it is called", n))
		}
	}
	if err := i.SpeaksFor.Check(); err != nil {
		problems = append(problems, fmt.Errorf("identity.speaks_for: %w", err))
	}
	for _, host := range slices.Sorted(maps.Keys(i.Hosts)) {
		if _, ok := relay.HostName(host); !ok || i.Hosts[host] == "" {
			problems = append(problems, fmt.Errorf("identity.hosts: write HOST: ORGANIZATION; %q: %q is none", host, i.Hosts[host]))
		}
	}
	return errors.Join(problems...)
}

func checkRule(key string, r relay.IdentityRule) error {
	var problems []error
	if r.Organization == "" {
		problems = append(problems, fmt.Errorf("%s.organization is missing: name one, or write %s to take it from the certificate's subject", key, relay.OrganizationOfSubject))
	}
	for _, problem := range r.Problems() {
		problems = append(problems, fmt.Errorf("%s.%w", key, problem))
	}
	return errors.Join(problems...)
}

func (f Forward) check() error {
	if _, err := prefixes(f.From); err != nil {
		return err
	}
	if len(f.From) > 0 && (f.Verify == "" || f.DN == "" && f.Cert == "") {
		return errors.New("identity.forward needs the names of the headers: verify, and dn or cert")
	}
	for _, name := range []string{f.Verify, f.DN, f.Cert, f.Address} {
		if strings.ContainsAny(name, " :\t\r\n") {
			return fmt.Errorf("identity.forward: %q is no name of a header", name)
		}
	}
	return nil
}

func prefixes(from []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, text := range from {
		p, err := netip.ParsePrefix(text)
		if address, single := netip.ParseAddr(text); single == nil {
			p, err = address.Prefix(address.BitLen())
		}
		if err != nil {
			return nil, fmt.Errorf("identity.forward.from: %q is neither an address nor a network, such as 192.0.2.7 or 192.0.2.0/24", text)
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

// callers are how the edge finds out who calls.
func (s *server) callers() *handlers.Callers {
	c, i := s.config, s.config.Identity
	from, _ := prefixes(i.Forward.From) // checked before
	o := handlers.CallerOptions{Certificates: s.certificates, Required: c.TLS.ClientCA != "" && c.TLS.ClientAuth != clientAuthRequest,
		Forward: handlers.Forward{From: from, Verify: i.Forward.Verify, DN: i.Forward.DN, Cert: i.Forward.Cert, Address: i.Forward.Address},
		Rules:   i.Rules, More: s.broker.IdentityRules, SpeaksFor: i.SpeaksFor, Anonymous: c.Organization, Hosts: i.Hosts, Remember: i.RememberHosts, Log: s.log}
	switch {
	case i.DefaultOrganization != nil:
		o.Default, o.Anonymous = *i.DefaultOrganization, *i.DefaultOrganization
	case len(i.Rules) == 0:
		o.Default = c.Organization
	}
	return handlers.NewCallers(o)
}

// openCertificates reads the listener's TLS files.
func (s *server) openCertificates(metrics *handlers.Metrics) error {
	c := s.config.TLS
	if c.Cert == "" {
		return nil
	}
	var err error
	s.certificates, err = handlers.OpenCertificates(handlers.CertificateFiles{Cert: c.Cert, Key: c.Key, ClientCA: c.ClientCA, CRLs: c.CRL,
		Optional: c.ClientAuth == clientAuthRequest}, time.Now, metrics, s.log)
	if err != nil {
		return usage(fmt.Errorf("tls: %w", err))
	}
	return nil
}

// watchCertificates has changed TLS files read while the edge is served.
func (s *server) watchCertificates() {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.certificates.Run(ctx)
	}()
	s.stop.push("certificates", time.Second, func(context.Context) {
		stop()
		<-done
	})
}

// alone says whether nobody outside this machine reaches the edge: not through a
// reverse proxy either that says for whom it asks.
func (c *Config) alone() bool {
	local, _ := isLoopback(c.Listen) // checked before
	return local && len(c.Identity.Forward.From) == 0
}

package handlers_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

// below is a CA that another one has made, with whatever a test changes.
func below(t *testing.T, above *authority, subject pkix.Name, change func(*x509.Certificate)) *authority {
	t.Helper()
	template := &x509.Certificate{Subject: subject, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	change(template)
	a := &authority{t: t, above: above, key: newKey(t)}
	a.cert = sign(t, template, above.cert, a.key, above.key)
	return a
}

// TestForgedCertificates: a host's key makes no certificates, nor does a CA beyond
// what its own CA has let it.
func TestForgedCertificates(t *testing.T) {
	k := newTree(t)
	acme := pkix.Name{CommonName: "ACME CA", Organization: []string{"ACME Inc"}}
	host := below(t, k.acme, pkix.Name{CommonName: "web01.example.com"}, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid, c.KeyUsage = false, false, 0 })
	short := below(t, k.acme, pkix.Name{CommonName: "short"}, func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true })
	servers := below(t, k.acme, pkix.Name{CommonName: "servers"}, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	named := below(t, k.acme, pkix.Name{CommonName: "named"}, func(c *x509.Certificate) {
		c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"lab.example.com"}
	})
	alike := newAuthority(t, nil, acme)
	l := listen(t, k, nil, true, func(o *handlers.CallerOptions) { o.Default, o.SpeaksFor = "default", relay.HostsAny })
	l.serve(t)
	self := alike.issue("web01.example.com", nil)
	self.Certificate = self.Certificate[:1]
	withCA := alike.issue("web01.example.com", nil)
	withCA.Certificate = append(withCA.Certificate, alike.cert.Raw)
	for name, shown := range map[string]tls.Certificate{
		"made with a host's key":                 host.issue("web02.example.com", nil),
		"made by a CA beyond its path length":    newAuthority(t, short, pkix.Name{CommonName: "deeper"}).issue("web02.example.com", nil),
		"made by a CA for servers":               servers.issue("web02.example.com", nil),
		"of a CA that calls itself like another": self,
		"with that CA":                           withCA,
		"a DNS name outside of its CA's":         named.issue("a.lab.example.com", func(c *x509.Certificate) { c.DNSNames = []string{"web02.example.com"} }),
	} {
		t.Run(name, func(t *testing.T) {
			got := send(t, l.client(t, &shown), outside(t, http.MethodPost, l.url+reportPath, report))
			require.Equal(t, http.StatusUnauthorized, got.status, got.detail)
			require.Empty(t, l.intake.accepted())
		})
	}
	good := short.issue("web01.example.com", nil)
	require.Equal(t, 201, send(t, l.client(t, &good), outside(t, http.MethodPost, l.url+reportPath, report)).status)
}

// TestTheCommonNameOfACAThatMayNotNameAll: what a CA may name is said of DNS names;
// the common name is none where it is not among them.
func TestTheCommonNameOfACAThatMayNotNameAll(t *testing.T) {
	k := newTree(t)
	named := below(t, k.acme, pkix.Name{CommonName: "named"}, func(c *x509.Certificate) {
		c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"lab.example.com"}
	})
	l := listen(t, k, nil, true, func(o *handlers.CallerOptions) { o.Default = "default" })
	within := func(c *x509.Certificate) { c.DNSNames = []string{"a.lab.example.com"} }
	for name, c := range map[string]struct {
		sender tls.Certificate
		host   string
		status int
	}{
		"alone":              {named.issue("web01.example.com", nil), "web01.example.com", 403},
		"beside a name":      {named.issue("web01.example.com", within), "web01.example.com", 403},
		"the name beside it": {named.issue("web01.example.com", within), "a.lab.example.com", 201},
		"the same name":      {named.issue("a.lab.example.com", within), "a.lab.example.com", 201},
		"of a CA that may":   {k.acme.issue("web01.example.com", within), "web01.example.com", 201},
	} {
		r := post(reportPath, reportOf(c.host))
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c.sender.Leaf, named.cert}}
		require.Equal(t, c.status, l.do(r).Code, name)
	}
}

// TestATenantsCertificateWithForemansName: a tenant's own CA can make one, and with
// it nobody reads the log.
func TestATenantsCertificateWithForemansName(t *testing.T) {
	l := listen(t, newTree(t), nil, true, nil)
	const name = "foreman.example.com"
	for issuer, want := range map[string][2]int{"": {200, 200}, l.tree.acme.cert.Subject.String(): {200, 403}} {
		b := newEdge(t, func(o *handlers.EdgeOptions) {
			o.Callers = handlers.NewCallers(handlers.CallerOptions{Certificates: l.certificates, Required: true})
			o.SmartProxy = handlers.SmartProxyOptions{Features: []string{"logs"}, Trust: handlers.Trust{Hosts: []string{name}, Issuer: issuer}}
		})
		for i, by := range []*authority{l.tree.acme, l.tree.beta} {
			require.Equal(t, want[i], b.do(shows(httptest.NewRequest(http.MethodGet, "/logs", nil), by.issue(name, nil))).Code, "%q %d", issuer, i)
		}
	}
}

// TestAResumedSession: what a session ticket keeps of a certificate is held against
// the newest CRL, and CAs, like what was shown anew.
func TestAResumedSession(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		k := newTree(t)
		host := k.between.issue("web01.example.com", nil)
		l := listen(t, k, nil, true, func(o *handlers.CallerOptions) { o.Default, o.SpeaksFor = "default", relay.HostsAny })
		l.serve(t)
		client := l.client(t, &host)
		config := client.Transport.(*http.Transport).TLSClientConfig
		config.ClientSessionCache, config.MaxVersion = tls.NewLRUClientSessionCache(1), version
		once := func() (resumed bool, status int) {
			client.CloseIdleConnections()
			resp, err := client.Do(outside(t, http.MethodGet, l.url+"/livez", ""))
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			return resp.TLS.DidResume, resp.StatusCode
		}
		once()
		resumed, status := once()
		require.Equal(t, []any{true, 200}, []any{resumed, status})
		put(t, k.file("ca.crt"), certificatesPEM(k.beta.cert))
		l.reread(t)
		resumed, status = once()
		require.Equal(t, []any{true, 401}, []any{resumed, status})
	}
}

// reread has changed files read.
func (l *listening) reread(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); l.certificates.Run(ctx) }()
	require.Eventually(t, func() bool {
		return strings.Contains(scrape(t, l.registry), `foreman_relay_tls_reloads_total{result="used"} 1`)
	}, 20*time.Second, 20*time.Millisecond)
	stop()
	<-done
}

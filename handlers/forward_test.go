package handlers_test

import (
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

// behind is an edge over plain HTTP behind a proxy at 192.0.2.1.
func behind(t *testing.T, change func(*handlers.CallerOptions)) *bench {
	t.Helper()
	return newEdge(t, func(o *handlers.EdgeOptions) {
		forward := handlers.DefaultForward()
		forward.From = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::/64")}
		c := handlers.CallerOptions{Forward: forward, Anonymous: "default", Log: o.Log, Rules: []relay.IdentityRule{
			{CN: "*.example.com", SubjectO: "*", Organization: relay.OrganizationOfSubject, SpeaksFor: relay.HostsAny},
			{SAN: "spiffe://lab/*", Organization: "Lab", SpeaksFor: relay.HostsAny}}}
		if change != nil {
			change(&c)
		}
		o.Callers, o.Known = handlers.NewCallers(c), served
		o.SmartProxy.Features = []string{"logs"}
	})
}

// TestAProxySaysWho: what the proxy has verified is believed, of the proxy alone.
func TestAProxySaysWho(t *testing.T) {
	k := newTree(t)
	lab := k.acme.issue("x", func(c *x509.Certificate) { c.URIs = []*url.URL{mustURL(t, "spiffe://lab/a")} })
	escaped := url.PathEscape(string(certificatesPEM(lab.Leaf)))
	for name, c := range map[string]struct {
		verify, dn, cert string
		remote           string
		organization     string
		reason           string
	}{
		"a subject":               {"SUCCESS", "CN=web01.example.com,O=ACME Inc", "", "192.0.2.1:5", "ACME Inc", ""},
		"escaped":                 {"SUCCESS", `O=ACME\20Inc, CN=web01.example.com`, "", "192.0.2.1:5", "ACME Inc", ""},
		"over IPv6":               {"SUCCESS", "CN=web01.example.com,O=Beta", "", "[2001:db8::7]:5", "Beta", ""},
		"a certificate":           {"SUCCESS", "CN=web01.example.com,O=Beta", escaped, "192.0.2.1:5", "Lab", ""},
		"none":                    {"NONE", "CN=web01.example.com,O=Beta", "", "192.0.2.1:5", "", "no_certificate"},
		"nothing":                 {"", "CN=web01.example.com,O=Beta", "", "192.0.2.1:5", "", "no_certificate"},
		"expired":                 {"FAILED:certificate has expired", "", "", "192.0.2.1:5", "", "expired"},
		"revoked":                 {"FAILED:certificate revoked", "", "", "192.0.2.1:5", "", "revoked"},
		"of a stranger":           {"FAILED:unable to verify the first certificate", "", "", "192.0.2.1:5", "", "unknown_ca"},
		"good, and nobody's":      {"SUCCESS", "", "", "192.0.2.1:5", "", "unusable"},
		"with slashes":            {"SUCCESS", "/CN=web01.example.com/O=Beta", "", "192.0.2.1:5", "", "unusable"},
		"a field within another":  {"SUCCESS", `CN=web01.example.com,OU=x\,O=Beta`, "", "192.0.2.1:5", "", "no_rule"},
		"two organizations":       {"SUCCESS", "CN=web01.example.com,O=Beta+O=Lab", "", "192.0.2.1:5", "", "no_rule"},
		"a quoted value":          {"SUCCESS", `CN="web01.example.com",O=Beta`, "", "192.0.2.1:5", "", "unusable"},
		"half a value":            {"SUCCESS", `CN=web01.example.com,O=Beta\`, "", "192.0.2.1:5", "", "unusable"},
		"a comma and no more":     {"SUCCESS", "CN=web01.example.com,", "", "192.0.2.1:5", "", "unusable"},
		"no certificate in there": {"SUCCESS", "", "-----BEGIN%20CERTIFICATE-----", "192.0.2.1:5", "", "unusable"},
		"too long":                {"SUCCESS", "", strings.Repeat("x", 17<<10), "192.0.2.1:5", "", "unusable"},
		"from elsewhere":          {"SUCCESS", "CN=web01.example.com,O=Beta", "", "192.0.2.2:5", "", "no_certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			b := behind(t, nil)
			r := post(reportPath, report)
			r.RemoteAddr = c.remote
			for header, value := range map[string]string{"X-SSL-Client-Verify": c.verify, "X-SSL-Client-DN": c.dn, "X-SSL-Client-Cert": c.cert} {
				if value != "" {
					r.Header.Set(header, value)
				}
			}
			w := b.do(r)
			require.Empty(t, r.Header.Get("X-SSL-Client-Verify")+r.Header.Get("X-SSL-Client-DN")+r.Header.Get("X-SSL-Client-Cert"), "taken away")
			if c.reason == "" {
				require.Equal(t, http.StatusCreated, w.Code, w.Body)
				require.Equal(t, c.organization, b.intake.one(t).Queue.Organization)
				return
			}
			require.Contains(t, w.Body.String(), `"reason":"`+c.reason+`"`)
			require.Empty(t, b.intake.accepted())
		})
	}
}

// TestTheAddressBehindAProxy: the last one, which the proxy has added itself.
func TestTheAddressBehindAProxy(t *testing.T) {
	for name, c := range map[string]struct {
		header, remote, forwarded, want string
	}{
		"the last":       {"X-Forwarded-For", "192.0.2.1:5", "198.51.100.1, 203.0.113.9", "203.0.113.9"},
		"none":           {"X-Forwarded-For", "192.0.2.1:5", "nobody", "192.0.2.1"},
		"not asked for":  {"", "192.0.2.1:5", "203.0.113.9", "192.0.2.1"},
		"from elsewhere": {"X-Forwarded-For", "192.0.2.2:5", "203.0.113.9", "192.0.2.2"},
	} {
		b := behind(t, func(o *handlers.CallerOptions) { o.Forward.Address = c.header })
		r := post("/unattended/built", "", "X-Forwarded-For", c.forwarded)
		r.RemoteAddr = c.remote
		require.Equal(t, http.StatusCreated, b.do(r).Code, name)
		require.Equal(t, c.want, b.intake.one(t).Header["X-Forwarded-For"], name)
	}
}

// TestAnExpiredCertificateBehindAProxy, which the proxy has let through.
func TestAnExpiredCertificateBehindAProxy(t *testing.T) {
	old := newTree(t).acme.issue("web01.example.com", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	r := post(reportPath, report, "X-SSL-Client-Verify", "SUCCESS", "X-SSL-Client-Cert", url.PathEscape(string(certificatesPEM(old.Leaf))))
	require.Equal(t, "expired", recorded(t, behind(t, nil).do(r), relay.CodeUnauthenticated).Reason)
}

// TestHeadersThatAreThereTwice: one of them may be the client's own.
func TestHeadersThatAreThereTwice(t *testing.T) {
	b := behind(t, nil)
	r := post(reportPath, report, "X-SSL-Client-Verify", "SUCCESS", "X-SSL-Client-DN", "CN=web01.example.com,O=ACME Inc", "X-SSL-Client-DN", "CN=web01.example.com,O=Beta")
	require.Equal(t, "unusable", recorded(t, b.do(r), relay.CodeUnauthenticated).Reason)
}

// TestTheRelayVerifiesWhatAProxyPassesOn, where it has the CAs and CRLs itself;
// and the proxy's own certificate is nobody's.
func TestTheRelayVerifiesWhatAProxyPassesOn(t *testing.T) {
	k := newTree(t)
	gone, stranger, proxy := k.acme.issue("web01.example.com", nil), k.stranger.issue("web01.example.com", nil), k.acme.issue("proxy.example.com", nil)
	l := listen(t, k, []string{put(t, k.file("root.crl"), k.acme.crl(gone.Leaf))}, false, func(o *handlers.CallerOptions) {
		o.Default, o.Forward = "default", handlers.DefaultForward()
		o.Forward.From = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}
	})
	for reason, shown := range map[string]*x509.Certificate{"revoked": gone.Leaf, "unknown_ca": stranger.Leaf, "no_certificate": nil} {
		r := shows(post(reportPath, report), proxy)
		if shown != nil {
			r.Header.Set("X-SSL-Client-Verify", "SUCCESS")
			r.Header.Set("X-SSL-Client-Cert", url.PathEscape(string(certificatesPEM(shown))))
		}
		require.Equal(t, reason, recorded(t, l.do(r), relay.CodeUnauthenticated).Reason)
	}
	good := shows(post(reportPath, report), k.acme.issue("web01.example.com", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(time.Hour) }))
	good.RemoteAddr = "192.0.2.9:1"
	require.Equal(t, http.StatusCreated, l.do(good).Code, "who comes by himself shows his own")
}

// TestAnIssuerThatTheRelayDoesNotKnow: a CA that the proxy trusts can make one that is
// called like another tenant's, so that the name is worth nothing.
func TestAnIssuerThatTheRelayDoesNotKnow(t *testing.T) {
	k := newTree(t)
	imitation := newAuthority(t, k.acme, k.beta.cert.Subject)
	b := behind(t, func(o *handlers.CallerOptions) {
		o.Rules = []relay.IdentityRule{{Issuer: k.beta.cert.Subject.String(), Organization: "Beta", SpeaksFor: relay.HostsAny}}
	})
	r := post(reportPath, report, "X-SSL-Client-Verify", "SUCCESS", "X-SSL-Client-Cert", url.PathEscape(string(certificatesPEM(imitation.issue("x", nil).Leaf))))
	require.Equal(t, relay.RefusedNoRule, recorded(t, b.do(r), relay.CodeDenied).Reason)
}

// TestTrustedHostsBehindAProxy: what it says counts for the smart proxy too, in
// the same words.
func TestTrustedHostsBehindAProxy(t *testing.T) {
	b := behind(t, nil)
	r := httptest.NewRequest(http.MethodGet, "/v2/features", nil)
	golden(t, "no_certificate", b.do(r))
	r = httptest.NewRequest(http.MethodGet, "/v2/features", nil)
	r.Header.Set("X-SSL-Client-Verify", "SUCCESS")
	r.Header.Set("X-SSL-Client-DN", "CN=foreman.example.com")
	require.Equal(t, http.StatusOK, b.do(r).Code)
}

package handlers_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

// golden holds an answer against a file of status, media type and body, byte for
// byte: what a Ruby smart proxy answers.
func golden(t *testing.T, name string, w *httptest.ResponseRecorder) {
	t.Helper()
	want, err := os.ReadFile(filepath.Join("testdata", "smartproxy", name))
	require.NoError(t, err)
	require.Equal(t, string(want), fmt.Sprintf("%d %s\n\n%s", w.Code, w.Header().Get("Content-Type"), w.Body))
}

// newProxy is an edge that is a smart proxy.
func newProxy(t *testing.T, change func(*handlers.SmartProxyOptions)) *bench {
	t.Helper()
	o := handlers.SmartProxyOptions{Features: []string{"puppet", "logs", "edge_queue"}, Version: "1.2.3", Loopback: true}
	if change != nil {
		change(&o)
	}
	return newEdge(t, func(e *handlers.EdgeOptions) { e.SmartProxy = o })
}

func trusted(names ...string) func(*handlers.SmartProxyOptions) {
	return func(o *handlers.SmartProxyOptions) { o.Trust.Hosts = append([]string{}, names...) }
}

func TestSmartProxyAnswers(t *testing.T) {
	plain := newProxy(t, nil)
	https := newProxy(t, func(o *handlers.SmartProxyOptions) { o.TLS = true })
	none := newProxy(t, func(o *handlers.SmartProxyOptions) { o.Features = nil })
	for _, c := range []struct {
		edge         *bench
		path, golden string
	}{
		{plain, "/features", "features"}, {none, "/features", "features_none"},
		{plain, "/version", "version"}, {none, "/version", "version_none"},
		{plain, "/v2/features", "v2_features_http"}, {https, "/v2/features", "v2_features_https"}, {none, "/v2/features", "v2_features_none"},
		{plain, "/logs", "logs_none"}, {plain, "/logs?from_timestamp=x", "logs_none"}, {none, "/logs", "not_found"},
		{plain, "/v2/version", "not_found"}, {plain, "/logs/1", "not_found"}, {plain, "/features/logs", "not_found"},
	} {
		t.Run(c.path+" "+c.golden, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, c.path, nil)
			r.Header.Set("X-Request-Id", "5f4dcc3b-5aa7")
			w := c.edge.do(r)
			golden(t, c.golden, w)
			require.Equal(t, "5f4dcc3b-5aa7", w.Header().Get("X-Request-Id"))
		})
	}
	golden(t, "not_found", plain.do(httptest.NewRequest(http.MethodPost, "/features", nil)))
	require.Equal(t, http.StatusOK, plain.do(httptest.NewRequest(http.MethodHead, "/features", nil)).Code)
	require.Contains(t, scrape(t, plain.registry), `foreman_relay_http_requests_total{code="200",route="smart_proxy"} 6`+"\n")
}

// TestOtherPathsAreNotTheSmartProxys: a host that meets nothing gets a problem, as
// before.
func TestOtherPathsAreNotTheSmartProxys(t *testing.T) {
	recorded(t, newProxy(t, nil).do(httptest.NewRequest(http.MethodGet, "/puppet/environments", nil)), relay.CodeNotFound)
}

// over is a request over TLS with this certificate; nil: none.
func over(path string, cert *x509.Certificate) *http.Request {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.TLS = &tls.ConnectionState{}
	if cert != nil {
		r.TLS.PeerCertificates, r.TLS.VerifiedChains = []*x509.Certificate{cert}, [][]*x509.Certificate{{cert}}
	}
	return r
}

// named is a certificate of these common names, as crypto/x509 reads one.
func named(names ...string) *x509.Certificate {
	c := &x509.Certificate{DNSNames: []string{"foreman.example.com"}}
	for _, name := range names {
		c.Subject.CommonName = name
		c.Subject.Names = append(c.Subject.Names, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: name})
	}
	return c
}

func TestTrustedHostsOverTLS(t *testing.T) {
	unset, listed, nobody := newProxy(t, nil), newProxy(t, trusted("Foreman.example.com")), newProxy(t, trusted())
	ok := func(e *bench, c *x509.Certificate) {
		t.Helper()
		require.Equal(t, http.StatusOK, e.do(over("/v2/features", c)).Code)
		require.Equal(t, http.StatusOK, e.do(over("/logs", c)).Code)
	}
	ok(unset, named("web01.example.com"))
	ok(unset, named())
	ok(listed, named("foreman.EXAMPLE.com"))
	for name, c := range map[string]struct {
		edge         *bench
		path, golden string
		cert         *x509.Certificate
	}{
		"no certificate":            {unset, "/v2/features", "no_certificate", nil},
		"no certificate, logs":      {unset, "/logs", "no_certificate", nil},
		"no certificate, a list":    {listed, "/v2/features", "no_certificate_listed", nil},
		"another":                   {listed, "/v2/features", "untrusted", named("WEB01.example.com")},
		"another, logs":             {listed, "/logs", "untrusted_logs", named("web01.example.com")},
		"another, a time":           {listed, "/logs?from_timestamp=1", "untrusted_logs", named("web01.example.com")},
		"nobody":                    {nobody, "/v2/features", "untrusted", named("web01.example.com")},
		"no common name":            {listed, "/v2/features", "no_common_name", named()}, // alternative names do not count
		"two, one that would do":    {listed, "/v2/features", "no_common_name", named("foreman.example.com", "web01.example.com")},
		"the other way round":       {listed, "/v2/features", "no_common_name", named("web01.example.com", "foreman.example.com")},
		"a certificate of nobody's": {unset, "/v2/features", "no_certificate", nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := over(c.path, c.cert)
			if name == "a certificate of nobody's" {
				r.TLS.PeerCertificates = []*x509.Certificate{named("foreman.example.com")}
			}
			golden(t, c.golden, c.edge.do(r))
		})
	}
	for _, imitation := range []string{"foreman.example.com evil", "foreman.example.com/x", "x,CN=foreman.example.com"} {
		require.Equal(t, http.StatusForbidden, listed.do(over("/v2/features", named(imitation))).Code, imitation)
	}
	for _, path := range []string{"/features", "/version"} {
		require.Equal(t, http.StatusOK, nobody.do(over(path, nil)).Code, "they are for everybody")
	}
}

// names stands in for the name service.
type names struct {
	of map[string][]string // by address
	at map[string][]string // by name
}

func (n names) LookupAddr(_ context.Context, address string) ([]string, error) {
	return found(n.of[address])
}

func (n names) LookupHost(_ context.Context, name string) ([]string, error) { return found(n.at[name]) }

func found(all []string) ([]string, error) {
	if all == nil {
		return nil, errors.New("no such host")
	}
	return all, nil
}

// TestTrustedHostsOverHTTP: httptest's requests come from 192.0.2.1.
func TestTrustedHostsOverHTTP(t *testing.T) {
	at := func(addresses ...string) names {
		return names{of: map[string][]string{"192.0.2.1": {"Foreman.example.com.", "web01.example.com."}},
			at: map[string][]string{"Foreman.example.com": addresses, "foreman.example.com": addresses}}
	}
	small := at("192.0.2.1")
	small.of["192.0.2.1"] = []string{"foreman.example.com."}
	elsewhere := small
	elsewhere.at = map[string][]string{"foreman.example.com": {"192.0.2.9", "2001:db8::1"}}
	for name, c := range map[string]struct {
		hosts   []string
		forward bool
		names   names
		golden  string // empty: let in
	}{
		"unset":                       {nil, true, names{}, ""},
		"its name leads back":         {[]string{"foreman.example.com"}, true, at("2001:db8::1", "192.0.2.1"), ""},
		"the name leads back in IPv6": {[]string{"foreman.example.com"}, true, at("::ffff:192.0.2.1"), ""},
		"its name leads elsewhere":    {[]string{"foreman.example.com"}, true, elsewhere, "no_forward"},
		"its name leads nowhere":      {[]string{"foreman.example.com"}, true, names{of: small.of}, "no_forward"},
		"that does not matter":        {[]string{"foreman.example.com"}, false, names{of: small.of}, ""},
		"another name":                {[]string{"foreman.example.com"}, false, names{of: map[string][]string{"192.0.2.1": {"web01.example.com."}}}, "untrusted"},
		"no name":                     {[]string{"foreman.example.com"}, true, names{}, "no_name"},
		"nobody":                      {[]string{}, false, names{of: map[string][]string{"192.0.2.1": {"web01.example.com"}}}, "untrusted"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newProxy(t, func(o *handlers.SmartProxyOptions) {
				o.Trust = handlers.Trust{Hosts: c.hosts, ForwardVerify: c.forward, Resolver: c.names}
			})
			w := e.do(httptest.NewRequest(http.MethodGet, "/v2/features", nil))
			if c.golden == "" {
				require.Equal(t, http.StatusOK, w.Code, w.Body)
				return
			}
			golden(t, c.golden, w)
		})
	}
}

// TestProxyLog: dead letters and what was refused, from a time on.
func TestProxyLog(t *testing.T) {
	now := noon
	log := handlers.NewProxyLog(func() time.Time { return now })
	e := newProxy(t, func(o *handlers.SmartProxyOptions) { o.Log = log })
	e.do(retype(post(reportPath, report, "X-Request-Id", "run-1234-of-web01"), "text/plain"))
	now = noon.Add(500 * time.Millisecond)
	log.Buried(relay.DeadLetter{ID: "01ABC", Organization: "ACME & Söhne", Destination: "foreman", Reason: "rejected", Attempts: 3, Status: 422,
		Route: "report", Detail: "what Foreman said of the body stays here"}, "5f4dcc3b-5aa7-65d6")
	golden(t, "logs", get(e, "/logs"))
	golden(t, "logs", get(e, fmt.Sprintf("/logs?from_timestamp=%d", noon.Unix())))
	golden(t, "logs_none", get(e, fmt.Sprintf("/logs?from_timestamp=%d.6", noon.Unix())))
	require.NotContains(t, get(e, fmt.Sprintf("/logs?from_timestamp=%d.5", noon.Unix())).Body.String(), "refused POST")
}

// TestTheLogIsNotForEveryHost: where every host has a certificate, none reads what
// befell the others until somebody says who may.
func TestTheLogIsNotForEveryHost(t *testing.T) {
	log := handlers.NewProxyLog(func() time.Time { return noon })
	log.Buried(relay.DeadLetter{ID: "01ABC", Organization: "ACME"}, "")
	far := func(o *handlers.SmartProxyOptions) { o.Log, o.Loopback = log, false }
	golden(t, "logs_hidden", newProxy(t, far).do(over("/logs", named("web01.example.com"))))
	told := newProxy(t, func(o *handlers.SmartProxyOptions) { far(o); trusted("foreman.example.com")(o) })
	require.Contains(t, told.do(over("/logs", named("foreman.example.com"))).Body.String(), "dead letter 01ABC")
}

// TestWhatIsAnError: a flood of refusals is none, whatever refuses them, or it would
// push the dead letters out.
func TestWhatIsAnError(t *testing.T) {
	log := handlers.NewProxyLog(func() time.Time { return noon })
	e := newProxy(t, func(o *handlers.SmartProxyOptions) { o.Log = log; trusted("foreman.example.com")(o) })
	e.intake.answer = func(*relay.Message) (relay.Receipt, error) {
		return relay.Receipt{}, relay.Refuse(relay.CodeStorageFull, "no space")
	}
	require.Equal(t, http.StatusInsufficientStorage, e.do(post(reportPath, report)).Code)
	require.Equal(t, http.StatusForbidden, e.do(over("/logs", named("web01.example.com"))).Code)
	text := e.do(over("/logs", named("foreman.example.com"))).Body.String()
	require.Contains(t, text, `"level":"WARN","message":"refused POST /api/config_reports (storage-full): no space"`)
	require.Contains(t, text, `"level":"WARN","message":"Untrusted client web01.example.com attempted to access /logs.`)
	require.NotContains(t, text, "ERROR")
}

// TestWhatTheLogLeavesOut: paths that do not exist, and causes that the client is
// not told.
func TestWhatTheLogLeavesOut(t *testing.T) {
	log := handlers.NewProxyLog(func() time.Time { return noon })
	e := newProxy(t, func(o *handlers.SmartProxyOptions) { o.Log = log })
	get(e, "/wp-admin")
	e.do(httptest.NewRequest(http.MethodGet, "/relay/v1/queues/default/foreman/messages", nil))
	golden(t, "logs_none", get(e, "/logs"))
	e.intake.answer = func(*relay.Message) (relay.Receipt, error) {
		return relay.Receipt{}, &relay.Error{Code: relay.CodeInternal, Detail: "sesame", Err: errors.New("sesame")}
	}
	e.do(post(reportPath, report))
	text := get(e, "/logs").Body.String()
	require.Contains(t, text, `"level":"ERROR","message":"refused POST /api/config_reports (internal): The relay has failed"`)
	require.NotContains(t, text, "sesame")
}

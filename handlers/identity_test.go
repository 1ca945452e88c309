package handlers_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

// listening is an edge over TLS that asks its callers who they are.
type listening struct {
	*bench
	tree         *tree
	certificates *handlers.Certificates
	url          string
	later        atomic.Int64 // what the clock is ahead, in nanoseconds
}

// organizations that the edge of these tests has.
func served(q relay.Queue) bool {
	switch q.Organization {
	case "default", "ACME Inc", "Beta", "Fingers", "Lab", "Proxies":
		return q.Destination == relay.ForemanDestination
	}
	return false
}

func listen(t *testing.T, k *tree, crls []string, required bool, change func(*handlers.CallerOptions)) *listening {
	t.Helper()
	l := &listening{tree: k}
	server := k.acme.server()
	files := handlers.CertificateFiles{CRLs: crls, Optional: !required,
		Cert: put(t, k.file("server.crt"), certificatesPEM(server.Leaf)), Key: put(t, k.file("server.key"), keyPEM(t, server)),
		ClientCA: put(t, k.file("ca.crt"), certificatesPEM(k.ours...))}
	now := func() time.Time { return time.Now().Add(time.Duration(l.later.Load())) }
	l.bench = newEdge(t, func(o *handlers.EdgeOptions) {
		var err error
		l.certificates, err = handlers.OpenCertificates(files, now, o.Metrics, o.Log)
		require.NoError(t, err)
		c := handlers.CallerOptions{Certificates: l.certificates, Required: required, Anonymous: "default", Remember: 8, Log: o.Log}
		if change != nil {
			change(&c)
		}
		o.Callers, o.Known = handlers.NewCallers(c), served
		o.QueueOf = func(token string) (relay.Queue, bool) {
			for _, organization := range []string{"default", "ACME Inc", "Beta"} {
				if q := (relay.Queue{Organization: organization, Destination: relay.ForemanDestination}); q.Token() == token {
					return q, true
				}
			}
			return relay.Queue{}, false
		}
	})
	return l
}

// serve listens until the test ends.
func (l *listening) serve(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := handlers.NewServer(l, l.certificates.TLS(), zerolog.Nop())
	done := make(chan error, 1)
	go func() { done <- server.ServeTLS(listener, "", "") }()
	l.url = "https://" + listener.Addr().String()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		require.ErrorIs(t, <-done, http.ErrServerClosed)
	})
}

// client shows this certificate, whatever CAs the server would like; nil: none.
func (l *listening) client(t *testing.T, show *tls.Certificate) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(l.tree.acme.cert)
	config := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	if show != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return show, nil }
	}
	transport := &http.Transport{TLSClientConfig: config}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

// answer is what a client is told.
type answer struct {
	status int
	reason string
	detail string
}

func send(t *testing.T, c *http.Client, r *http.Request) answer {
	t.Helper()
	resp, err := c.Do(r)
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	var p handlers.Problem
	if resp.StatusCode >= 400 {
		require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"), "%s", text)
		require.NoError(t, json.Unmarshal(text, &p))
	}
	return answer{resp.StatusCode, p.Reason, p.Detail}
}

// outside is a request that a client sends over the network.
func outside(t *testing.T, method, url, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	return r
}

func fingerprint(pair tls.Certificate) string {
	sum := sha256.Sum256(pair.Leaf.Raw)
	return hex.EncodeToString(sum[:])
}

// TestWhoCalls: every kind of rule and every refusal, with real certificates over
// real TLS.
func TestWhoCalls(t *testing.T) {
	k := newTree(t)
	of := func(organizations ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.Subject.Organization = organizations }
	}
	imitation := newAuthority(t, k.acme, pkix.Name{CommonName: "Beta CA"}) // a tenant's CA makes one that is called like another's
	revokedCA := newAuthority(t, k.acme, pkix.Name{CommonName: "ACME old hosts"})
	listedCA := newAuthority(t, k.acme, pkix.Name{CommonName: "ACME older hosts"}) // named by the operator himself
	k.ours = append(k.ours, listedCA.cert)
	fingered := k.acme.issue("anything", nil)
	revoked := k.between.issue("gone.example.com", of("ACME Inc"))
	crls := []string{put(t, k.file("root.crl"), k.acme.crl(revokedCA.cert, listedCA.cert)), put(t, k.file("hosts.crl"), append(k.between.crl(revoked.Leaf), k.beta.crl()...))}
	print := strings.ToUpper(fingerprint(fingered))
	l := listen(t, k, crls, false, func(o *handlers.CallerOptions) {
		o.Remember = 0 // the same host is sent by all
		o.Rules = []relay.IdentityRule{
			{Fingerprint: print[:2] + ":" + print[2:], Organization: "Fingers", SpeaksFor: relay.HostsAny},
			{Issuer: "CN=Beta CA", Organization: "Beta", SpeaksFor: relay.HostsAny},
			{SubjectO: "ACME*", Issuer: "CN=ACME CA,O=ACME Inc", Organization: relay.OrganizationOfSubject, SpeaksFor: relay.HostsAny},
			{SAN: "spiffe://lab/*", Organization: "Lab", SpeaksFor: relay.HostsAny},
			{SAN: "*.lab.example.com", Organization: "Lab", SpeaksFor: relay.HostsAny},
			{CN: "proxy-*", Organization: "Proxies", SpeaksFor: relay.HostsAny},
		}
		o.More = func() []relay.IdentityRule {
			return []relay.IdentityRule{{CN: "proxy-late", Organization: "Lab"}, {CN: "tenant-*", Organization: "Beta", SpeaksFor: relay.HostsAny}}
		}
	})
	l.serve(t)

	type row struct {
		shown        *tls.Certificate
		organization string // empty: refused
		status       int
		reason       string
	}
	ok := func(c tls.Certificate, organization string) row { return row{&c, organization, 201, ""} }
	refused := func(c tls.Certificate, status int, reason string) row { return row{&c, "", status, reason} }
	san := func(change func(*x509.Certificate)) tls.Certificate { return k.acme.issue("x", change) }
	rows := map[string]row{
		"fingerprint":               ok(fingered, "Fingers"),
		"issuing CA":                ok(k.beta.issue("web01.example.com", of("ACME Inc")), "Beta"),
		"subject O":                 ok(k.between.issue("web01.example.com", of("ACME Inc")), "ACME Inc"),
		"URI":                       ok(san(func(c *x509.Certificate) { c.URIs = append(c.URIs, mustURL(t, "spiffe://lab/a")) }), "Lab"),
		"DNS name":                  ok(san(func(c *x509.Certificate) { c.DNSNames = []string{"a.example.com", "B.LAB.example.com"} }), "Lab"),
		"CN":                        ok(k.between.issue("Proxy-1", nil), "Proxies"),
		"the first rule that takes": ok(k.between.issue("proxy-late", nil), "Proxies"),
		"an organization's rule":    ok(k.acme.issue("tenant-7", nil), "Beta"),
		"no end of the pattern":     refused(san(func(c *x509.Certificate) { c.DNSNames = []string{"lab.example.com"} }), 403, "no_rule"),
		"no rule":                   refused(k.acme.issue("web01.example.com", nil), 403, "no_rule"),
		"two organizations":         refused(k.acme.issue("x", of("ACME Inc", "Beta")), 403, "no_rule"),
		"a CA called like another":  refused(imitation.issue("x", nil), 403, "no_rule"),
		"organization unknown":      refused(k.acme.issue("x", of("ACME Nowhere")), 403, "organization_unknown"),
		"no certificate":            {nil, "", 401, "no_certificate"},
		"unknown CA":                refused(k.stranger.issue("proxy-1", nil), 401, "unknown_ca"),
		"revoked":                   refused(revoked, 401, "revoked"),
		"its CA revoked":            refused(revokedCA.issue("proxy-1", nil), 401, "revoked"),
		"a trusted CA revoked":      refused(listedCA.issue("proxy-1", nil), 401, "revoked"),
		"not for clients":           refused(k.acme.server(), 401, "unusable"),
		"expired": refused(k.acme.issue("proxy-1", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), 401,
			"expired"),
		"not valid yet": refused(k.acme.issue("proxy-1", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }), 401,
			"expired"),
	}
	want := map[string]int{}
	for name, c := range rows {
		t.Run(name, func(t *testing.T) {
			client, before := l.client(t, c.shown), len(l.intake.accepted())
			got := send(t, client, outside(t, http.MethodPost, l.url+reportPath, report))
			require.Equal(t, c.status, got.status, got.detail)
			require.Equal(t, c.reason, got.reason, got.detail)
			all := l.intake.accepted()
			if c.organization == "" {
				require.Len(t, all, before, "it must not be stored")
				want[c.reason]++
				return
			}
			require.Len(t, all, before+1)
			require.Equal(t, c.organization, all[before].Queue.Organization)
			require.Contains(t, all[before].Sender, "sha256:"+fingerprint(*c.shown))
		})
	}
	text := scrape(t, l.registry)
	for _, reason := range relay.RefusalsOfCallers() {
		require.Regexp(t, `foreman_relay_refused_callers_total\{reason="`+reason+`"\} `+itoa(want[reason])+"\n", text)
	}
	logged := l.log.lines(t, "a caller was refused")
	require.NotEmpty(t, logged)
	require.LessOrEqual(t, len(logged), 20, "a flood of refusals is no flood of lines")
	require.NotContains(t, l.log.String(), "BEGIN")

	for _, path := range []string{"/features", "/version", "/livez"} { // for everybody
		require.Equal(t, 200, send(t, l.client(t, nil), outside(t, http.MethodGet, l.url+path, "")).status, path)
	}
	built := send(t, l.client(t, nil), outside(t, http.MethodPost, l.url+"/unattended/built?token=s3cret", ""))
	require.Equal(t, 201, built.status, built.detail)
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

// TestTheListenersDefault takes who is of no rule.
func TestTheListenersDefault(t *testing.T) {
	l := listen(t, newTree(t), nil, true, func(o *handlers.CallerOptions) { o.Default, o.SpeaksFor = "default", "*.example.com" })
	l.serve(t)
	host := l.tree.between.issue("h", nil)
	require.Equal(t, 201, send(t, l.client(t, &host), outside(t, http.MethodPost, l.url+reportPath, report)).status)
	require.Equal(t, "default", l.intake.one(t).Queue.Organization)
	stranger := l.tree.stranger.issue("h", nil)
	for _, path := range []string{"/livez", "/features", "/nothing", "/register"} { // nothing at all
		got := send(t, l.client(t, &stranger), outside(t, http.MethodGet, l.url+path, ""))
		require.Equal(t, []any{401, "unknown_ca"}, []any{got.status, got.reason}, path)
	}
	_, err := l.client(t, nil).Do(outside(t, http.MethodGet, l.url+"/livez", ""))
	require.ErrorContains(t, err, "certificate required")
}

// TestALongChainIsNotLookedAt.
func TestALongChainIsNotLookedAt(t *testing.T) {
	l := listen(t, newTree(t), nil, true, func(o *handlers.CallerOptions) { o.Default = "default" })
	host := l.tree.between.issue("h", nil)
	r := httptest.NewRequest(http.MethodGet, "/livez", nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{host.Leaf}}
	for range 8 {
		r.TLS.PeerCertificates = append(r.TLS.PeerCertificates, l.tree.between.cert)
	}
	require.Equal(t, "unknown_ca", recorded(t, l.do(r), relay.CodeUnauthenticated).Reason)
	r.TLS.PeerCertificates = r.TLS.PeerCertificates[:8]
	require.Equal(t, 200, l.do(r).Code)
}

// oneConnection is a client whose requests all take one connection.
func oneConnection(t *testing.T, c *http.Client) (*http.Client, *atomic.Int64) {
	t.Helper()
	dialed := &atomic.Int64{}
	c.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		dialed.Add(1)
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	return c, dialed
}

// TestFilesChangeWhileConnectionsAreOpen: the next request of an open connection
// meets the new CRL; new connections meet the new certificate; a broken file
// changes nothing, and is told.
func TestFilesChangeWhileConnectionsAreOpen(t *testing.T) {
	k := newTree(t)
	crl := put(t, k.file("hosts.crl"), k.between.crl())
	l := listen(t, k, []string{crl}, true, func(o *handlers.CallerOptions) { o.Default, o.SpeaksFor = "default", relay.HostsAny })
	l.serve(t)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); l.certificates.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	reloads := func(result string, n int) func() bool {
		return func() bool {
			return strings.Contains(scrape(t, l.registry), `foreman_relay_tls_reloads_total{result="`+result+`"} `+itoa(n)+"\n")
		}
	}
	await := func(cond func() bool) {
		t.Helper()
		require.Eventually(t, cond, 20*time.Second, 20*time.Millisecond)
	}

	first, second := k.between.issue("web01.example.com", nil), k.between.issue("web02.example.com", nil)
	one, dialed := oneConnection(t, l.client(t, &first))
	two, other := oneConnection(t, l.client(t, &second))
	ask := func(c *http.Client) answer {
		t.Helper()
		return send(t, c, outside(t, http.MethodPost, l.url+reportPath, report))
	}
	require.Equal(t, 201, ask(one).status)
	require.Equal(t, 201, ask(two).status)

	put(t, crl, []byte("no CRL"))
	await(reloads("refused", 1))
	require.Equal(t, 201, ask(one).status)
	require.Len(t, l.log.lines(t, "changed TLS files cannot be used: the ones before stay in use; mend the file"), 1)
	require.Contains(t, l.log.String(), "hosts.crl")

	put(t, crl, k.between.crl(first.Leaf))
	await(reloads("used", 1))
	require.Equal(t, "revoked", ask(one).reason)
	require.Equal(t, 201, ask(two).status, "others stay")

	stranger := k.stranger.issue("web03.example.com", nil)
	three := l.client(t, &stranger)
	require.Equal(t, "unknown_ca", ask(three).reason)
	put(t, k.file("ca.crt"), certificatesPEM(append(k.ours, k.stranger.cert)...))
	await(func() bool { return ask(three).status == 201 })

	renewed := k.acme.server()
	put(t, k.file("server.key"), keyPEM(t, renewed))
	put(t, k.file("server.crt"), certificatesPEM(renewed.Leaf))
	fresh := func() bool {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(l.url, "https://"), &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{second}})
		require.NoError(t, err)
		defer func() { _ = conn.Close() }()
		return conn.ConnectionState().PeerCertificates[0].Equal(renewed.Leaf)
	}
	await(fresh)
	require.Equal(t, 201, ask(two).status)

	l.later.Store(int64(2 * time.Hour))
	require.Equal(t, "expired", ask(two).reason)
	require.Equal(t, []int64{1, 1}, []int64{dialed.Load(), other.Load()}, "all of it was on one connection each")
}

// TestTrustFiles: what cannot be used is told with its file.
func TestTrustFiles(t *testing.T) {
	k := newTree(t)
	server := k.acme.server()
	files := handlers.CertificateFiles{Cert: put(t, k.file("server.crt"), certificatesPEM(server.Leaf)), Key: put(t, k.file("server.key"), keyPEM(t, server)),
		ClientCA: put(t, k.file("ca.crt"), certificatesPEM(k.ours...))}
	open := func(text []byte) error {
		files.CRLs = []string{put(t, k.file("x.crl"), text)}
		_, err := handlers.OpenCertificates(files, time.Now, handlers.NewMetrics(prometheus.NewRegistry(), nil), zerolog.Nop())
		return err
	}
	require.NoError(t, open(k.beta.crl()))
	require.ErrorContains(t, open(k.stranger.crl()), `x.crl: the list of "CN=Stranger CA" is signed by no CA that is trusted here`)
	require.ErrorContains(t, open(certificatesPEM(k.beta.cert)), "x.crl holds a CERTIFICATE")
	require.ErrorContains(t, open(nil), "x.crl: it cannot be read")
	forged := newAuthority(t, nil, pkix.Name{CommonName: "Beta CA"})
	require.ErrorContains(t, open(forged.crl()), "is signed by no CA", "the name alone is not enough")
	another, err := asn1.Marshal([]int{1})
	require.NoError(t, err)
	indirect := k.beta.list(x509.RevocationListEntry{SerialNumber: big.NewInt(1), RevocationTime: time.Now(),
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 29}, Critical: true, Value: another}}})
	require.ErrorContains(t, open(indirect), `x.crl: the list of "CN=Beta CA" names certificates of other CAs`)
	files.CRLs = []string{k.file("none.crl")}
	_, err = handlers.OpenCertificates(files, time.Now, handlers.NewMetrics(prometheus.NewRegistry(), nil), zerolog.Nop())
	require.ErrorContains(t, err, "none.crl")
}

// TestACRLThatBecomesOutdated holds, and is told of once, while the edge runs.
func TestACRLThatBecomesOutdated(t *testing.T) {
	k := newTree(t)
	longer := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(3 * time.Hour) }
	k.acme.cert = sign(t, &x509.Certificate{Subject: k.acme.cert.Subject, IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(3 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}, k.acme.cert, k.acme.key, k.acme.key)
	k.ours = append(k.ours, k.acme.cert)
	gone, host := k.acme.issue("gone.example.com", longer), k.acme.issue("web01.example.com", longer)
	l := listen(t, k, []string{put(t, k.file("root.crl"), k.acme.crl(gone.Leaf))}, true, func(o *handlers.CallerOptions) { o.Default = "default" })
	warned := func() int { return len(l.log.lines(t, outdated)) }
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); l.certificates.Run(ctx) }()
	require.Zero(t, warned())
	l.later.Store(int64(61 * time.Minute))
	require.Eventually(t, func() bool { return warned() > 0 }, 20*time.Second, 20*time.Millisecond)
	stop()
	<-done
	require.Equal(t, 1, warned())
	require.Equal(t, "revoked", recorded(t, l.do(shows(post(reportPath, report), gone)), relay.CodeUnauthenticated).Reason)
	require.Equal(t, 201, l.do(shows(post(reportPath, report), host)).Code)
}

const outdated = "a CRL is older than its CA wanted: it holds, but who was revoked since is let in; fetch a new one"

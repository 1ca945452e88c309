package handlers_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/foreman"
	"github.com/theforeman/foreman-relay/relay/outgoing"
	standin "github.com/theforeman/foreman-relay/test/foreman"
)

const nodePath = "/node/web1.example.com?format=yml"

// passBench is an edge that passes requests on to a stand-in for Foreman.
type passBench struct {
	*bench
	foreman *standin.Server
	now     time.Time
	closed  string // why nothing is passed on
}

// passSetup is what a test may change of it.
type passSetup struct {
	limits      foreman.PassLimits
	options     handlers.PassOptions
	concurrency int
	url         string // of another Foreman than the stand-in
	alone       bool   // no route stores anything

	organization *relay.Organization // what is known of the only one
	callers      *handlers.CallerOptions
}

func newPassBench(t *testing.T, change func(*passSetup)) *passBench {
	t.Helper()
	b := &passBench{foreman: standin.New(), now: noon}
	require.NoError(t, b.foreman.Start("127.0.0.1:0"))
	t.Cleanup(b.foreman.Stop)
	setup := passSetup{url: b.foreman.URL(), limits: foreman.DefaultPassLimits(), options: handlers.PassOptions{Closed: func() string { return b.closed },
		Loopback: true, StaleEntries: 10, StaleBytes: 1 << 20}}
	if change != nil {
		change(&setup)
	}
	client, err := foreman.New(foreman.Options{Options: outgoing.Options{URL: setup.url, UserAgent: "test/1"}, PassConcurrency: setup.concurrency})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	o := setup.options
	o.Passer, o.Passes = client, foreman.Passes(setup.limits)
	b.bench = newEdge(t, func(e *handlers.EdgeOptions) {
		e.Pass, e.Now = o, func() time.Time { return b.now }
		if known := setup.organization; known != nil {
			e.Door.Organization = func(string) (relay.Organization, bool) { return *known, true }
		}
		if setup.callers != nil {
			e.Callers = handlers.NewCallers(*setup.callers)
		}
		if setup.alone {
			e.Routes = nil
		}
	})
	return b
}

func ask(method, path, body string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

// counts checks lines of the metric.
func (b *passBench) counts(t *testing.T, lines ...string) {
	t.Helper()
	text := scrape(t, b.registry)
	for _, line := range lines {
		require.Contains(t, text, "foreman_relay_pass_through_total{"+line+"\n")
	}
}

// Each request as its client sends it, what Foreman gets, and what comes back.
func TestEachRequestThatIsPassedOn(t *testing.T) {
	for name, c := range map[string]struct {
		request *http.Request
		path    string // at Foreman
		answer  string
	}{
		"Puppet's ENC":    {ask("GET", nodePath, ""), nodePath, "name: web1.example.com\n"},
		"Salt's ENC":      {ask("GET", "/salt/node/m1?format=yml", ""), "/salt/node/m1?format=yml", "name: m1\n"},
		"a node encoded":  {ask("GET", "/node/a%2Fb%25?format=yml", ""), "/node/a%2Fb%25?format=yml", "name: a/b%\n"},
		"SCAP content":    {ask("GET", "/compliance/policies/7/content/abc", ""), "/api/v2/compliance/policies/7/content", "<data-stream-collection/>"},
		"SCAP tailoring":  {ask("GET", "/compliance/policies/7/tailoring/abc?x=1", ""), "/api/v2/compliance/policies/7/tailoring", "<data-stream-collection/>"},
		"a policy's name": {ask("GET", "/compliance/policies/7%2F..%2F8/content/abc", ""), "", ""},
		"a template":      {ask("GET", "/unattended/provision?token=t", ""), "/unattended/provision?token=t", "# provision\n"},
		"a registration":  {ask("GET", "/register?activation_keys=a", "", "Authorization", "Bearer jwt"), "/register?activation_keys=a", "to be registered"},
		"of a host": {ask("POST", "/register", `{"name":"a"}`, "Authorization", "Bearer jwt", "Content-Type", "application/json"),
			"/register", `echo "registered"`},
		"Salt's autosign": {ask("PUT", "/salt/api/v2/salt_autosign_auth?name=m1", ""), "/salt/api/v2/salt_autosign_auth?name=m1", `"ok"`},
	} {
		t.Run(name, func(t *testing.T) {
			b := newPassBench(t, nil)
			w := b.do(c.request)
			if c.path == "" {
				recorded(t, w, relay.CodeAway)
				require.Empty(t, b.foreman.Asked(), "a path never leads elsewhere")
				return
			}
			require.Equal(t, http.StatusOK, w.Code, w.Body)
			require.Contains(t, w.Body.String(), c.answer)
			require.Equal(t, `W/"1"`, w.Header().Get("Etag"))
			require.Empty(t, w.Header().Get("Set-Cookie"))
			require.Empty(t, w.Header().Get("Relay-Stale"))
			asked := b.foreman.Asked()
			require.Len(t, asked, 1)
			require.Equal(t, []string{c.request.Method, c.path}, []string{asked[0].Method, asked[0].Path})
			require.Empty(t, b.intake.accepted(), "nothing is stored")
		})
	}
}

func TestHeadersThatGoAlong(t *testing.T) {
	b := newPassBench(t, nil)
	given := []string{"Accept", "text/plain", "Authorization", "Bearer sesame", "Content-Type", "text/plain", "X-Request-Id", "r1",
		"X-RHN-Provisioning-MAC-0", "eth0 00:11:22:33:44:55", "X-Forwarded-For", "203.0.113.1", "Forwarded", "for=203.0.113.1", "Cookie", "a=b",
		"Ssl-Client-Verify", "SUCCESS", "Connection", "X-Other", "X-Other", "x", "Range", "bytes=0-1"}
	require.Equal(t, http.StatusOK, b.do(ask("GET", "/unattended/provision?token=t", "", given...)).Code)
	require.Equal(t, http.StatusOK, b.do(ask("GET", "/register", "", given...)).Code)
	template, registration := b.foreman.Asked()[0].Header, b.foreman.Asked()[1].Header
	require.Equal(t, http.Header{"Accept": {"text/plain"}, "Content-Type": {"text/plain"}, "X-Request-Id": {"r1"}, "User-Agent": {"test/1"},
		"X-Rhn-Provisioning-Mac-0": {"eth0 00:11:22:33:44:55"}, "X-Forwarded-For": {"192.0.2.1"}}, template)
	require.Equal(t, "Bearer sesame", registration.Get("Authorization"))
	require.NotContains(t, b.log.String(), "sesame")
}

// Built and failed are stored by a route of theirs; where there is none they are
// not passed on instead.
func TestWhatIsNotPassedOn(t *testing.T) {
	b := newPassBench(t, func(s *passSetup) { s.alone = true })
	for _, path := range []string{"/unattended/built?token=t", "/unattended/failed?token=t"} {
		recorded(t, b.do(ask("GET", path, "")), relay.CodeNotFound)
	}
	recorded(t, b.do(ask("POST", "/node/x", "")), relay.CodeMethodNotAllowed)
	recorded(t, b.do(ask("GET", nodePath, "", "Relay-Authorization", "Bearer sesame")), relay.CodeInvalid) // else he might believe that it is used
	require.Empty(t, b.foreman.Asked())
	b.counts(t, `outcome="refused",route="unattended"} 2`)
}

// Whatever stands in Foreman's place, the client is never told that all is well.
func TestNever2xxInForemansPlace(t *testing.T) {
	requests := map[string]*http.Request{"node": ask("GET", nodePath, ""), "salt_node": ask("GET", "/salt/node/m1?format=yml", ""),
		"scap_content": ask("GET", "/compliance/policies/7/content/abc", ""), "unattended": ask("GET", "/unattended/provision?token=t", ""),
		"salt_autosign": ask("PUT", "/salt/api/v2/salt_autosign_auth?name=m1", ""), "register": ask("GET", "/register", "", "Authorization", "Bearer jwt")}
	for _, mode := range []standin.Mode{standin.HTML503, standin.BadGateway, standin.Maintenance, standin.JSON503, standin.Drop, standin.Hang} {
		b := newPassBench(t, func(s *passSetup) {
			s.limits.NodeTimeout, s.limits.Timeout = 100*time.Millisecond, 100*time.Millisecond
		})
		b.foreman.SetRules(standin.Rule{Mode: mode})
		for name, r := range requests {
			w := b.do(r.Clone(t.Context()))
			require.Equal(t, http.StatusServiceUnavailable, w.Code, "%s %s", mode, name)
			b.counts(t, `outcome="away",route="`+name+`"} 1`, `outcome="passed",route="`+name+`"} 0`)
			if name == "register" {
				require.Equal(t, "text/plain; charset=UTF-8", w.Header().Get("Content-Type"))
				continue
			}
			require.Contains(t, recorded(t, w, relay.CodeAway).Title, "cannot be asked now")
		}
	}
}

// What Foreman itself refuses is passed on as it is.
func TestARefusalOfForemans(t *testing.T) {
	b := newPassBench(t, nil)
	b.foreman.SetRules(standin.Rule{Mode: standin.Forbidden})
	w := b.do(ask("GET", nodePath, ""))
	require.Equal(t, http.StatusForbidden, w.Code)
	require.Contains(t, w.Body.String(), "Missing one of the required permissions")
	require.Equal(t, "application/json; charset=utf-8", w.Header().Get("Content-Type"))
	b.counts(t, `outcome="passed",route="node"} 1`)
}

func TestTheLastGoodAnswer(t *testing.T) {
	for mode, why := range map[standin.Mode]string{standin.HTML503: "an outage", standin.Maintenance: "a page with 200", standin.Error500: "a failure",
		standin.Hang: "no answer in time", standin.Drop: "a lost connection", standin.DropAfter: "half an answer"} {
		t.Run(why, func(t *testing.T) {
			b := newPassBench(t, func(s *passSetup) { s.limits.NodeTimeout = 200 * time.Millisecond })
			good := b.do(ask("GET", nodePath, ""))
			require.Equal(t, http.StatusOK, good.Code)
			b.foreman.SetRules(standin.Rule{Mode: mode})
			b.now = b.now.Add(90*time.Second + time.Millisecond)
			w := b.do(ask("GET", nodePath, ""))
			require.Equal(t, http.StatusOK, w.Code)
			require.Equal(t, good.Body.String(), w.Body.String())
			require.Equal(t, []string{"true", "90", good.Header().Get("Content-Type")},
				[]string{w.Header().Get("Relay-Stale"), w.Header().Get("Age"), w.Header().Get("Content-Type")})
			require.Len(t, b.log.lines(t, "not answered by the destination"), 1)
			b.counts(t, `outcome="stale",route="node"} 1`)
			other := b.do(ask("GET", "/node/other?format=yml", ""))
			require.GreaterOrEqual(t, other.Code, 500, "one that was never asked for")
			require.Empty(t, other.Header().Get("Relay-Stale"))
		})
	}
}

func TestTheLastGoodAnswerIsReplacedAndDropped(t *testing.T) {
	b := newPassBench(t, nil)
	b.foreman.SetNode("web1.example.com", "classes: {old: }\n")
	b.do(ask("GET", nodePath, ""))
	b.foreman.SetNode("web1.example.com", "classes: {new: }\n")
	b.do(ask("GET", "/node/web1.example.com?a=1&format=yml", ""))
	b.do(ask("GET", nodePath, ""))
	b.closed = "nobody is asked"
	w := b.do(ask("GET", nodePath, ""))
	require.Equal(t, []any{200, "classes: {new: }\n", "0"}, []any{w.Code, w.Body.String(), w.Header().Get("Age")})
	require.Equal(t, 200, b.do(ask("GET", "/node/web1.example.com?format=yml&a=1", "")).Code, "the order of a query does not matter")

	b.closed = ""
	b.foreman.SetNode("web1.example.com", "")
	require.Equal(t, 404, b.do(ask("GET", nodePath, "")).Code, "it is gone")
	b.closed = "nobody is asked"
	recorded(t, b.do(ask("GET", nodePath, "")), relay.CodeAway)
	require.Len(t, b.foreman.Asked(), 4)
}

func TestBoundsOfTheLastGoodAnswers(t *testing.T) {
	node := func(name string) *http.Request { return ask("GET", "/node/"+name+"?format=yml", "") }
	kept := func(b *passBench, names ...string) (found []string) {
		b.closed = "nobody is asked"
		for _, name := range names {
			if b.do(node(name)).Code == http.StatusOK {
				found = append(found, name)
			}
		}
		return found
	}
	fill := func(b *passBench) {
		for _, name := range []string{"a", "b", "a", "c"} {
			require.Equal(t, 200, b.do(node(name)).Code)
		}
	}
	entries := newPassBench(t, func(s *passSetup) { s.options.StaleEntries = 2 })
	fill(entries)
	require.Equal(t, []string{"a", "c"}, kept(entries, "a", "b", "c"))

	bytes := newPassBench(t, func(s *passSetup) { s.options.StaleBytes = 2 * 750 })
	fill(bytes)
	require.Equal(t, []string{"a", "c"}, kept(bytes, "a", "b", "c"))
	bytes.closed = ""
	bytes.foreman.SetNode("a", "parameters: {x: "+strings.Repeat("x", 2000)+"}\n")
	require.Equal(t, 200, bytes.do(node("a")).Code)
	require.Equal(t, []string{"c"}, kept(bytes, "a", "b", "c"), "one larger than all of them together is not kept, nor the one before it")

	off := newPassBench(t, func(s *passSetup) { s.options.StaleEntries = 0 })
	fill(off)
	require.Empty(t, kept(off, "a", "b", "c"))
	recorded(t, off.do(node("a")), relay.CodeAway)
}

// Nobody is asked while that would be in vain, and nobody waits.
func TestClosed(t *testing.T) {
	b := newPassBench(t, nil)
	b.closed = "the circuit is open"
	require.Equal(t, "the circuit is open", recorded(t, b.do(ask("GET", nodePath, "")), relay.CodeAway).Detail)
	require.Empty(t, b.foreman.Asked())
}

func TestBusy(t *testing.T) {
	entered, hold := make(chan struct{}, 2), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { entered <- struct{}{}; <-hold; w.WriteHeader(404) }))
	defer slow.Close()
	b := newPassBench(t, func(s *passSetup) { s.concurrency, s.url = 1, slow.URL })
	first := make(chan *httptest.ResponseRecorder)
	go func() { first <- b.do(ask("GET", nodePath, "")) }()
	<-entered
	w := b.do(ask("GET", nodePath, ""))
	recorded(t, w, relay.CodeAway)
	require.Equal(t, "1", w.Header().Get("Retry-After"))
	close(hold)
	require.Equal(t, http.StatusNotFound, (<-first).Code)
	b.counts(t, `outcome="busy",route="node"} 1`, `outcome="passed",route="node"} 1`)
	require.Empty(t, entered, "Foreman was not asked")
}

// A caller pipes what comes into a shell, whatever it is.
func TestARefusedRegistrationCanBeRun(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*passBench)
		request *http.Request
		status  int
		says    string
	}{
		"no Foreman":      {func(b *passBench) { b.closed = "$(reboot)" }, ask("GET", "/register", ""), 503, "Foreman cannot be asked at the moment"},
		"a page":          {func(b *passBench) { b.foreman.SetRules(standin.Rule{Mode: standin.Maintenance}) }, ask("GET", "/register", "", "Authorization", "Bearer x"), 503, "Foreman cannot be asked"},
		"stopping":        {func(b *passBench) { b.Refuse() }, ask("POST", "/register", ""), 503, "Foreman cannot be asked at the moment"},
		"no token":        {func(*passBench) {}, ask("GET", "/register", ""), 401, "this registration was refused"},
		"Foreman's words": {func(*passBench) {}, ask("GET", "/register", "", "Authorization", "Bearer of-nobody"), 404, "ERROR: not_found"},
		"too large":       {func(*passBench) {}, ask("POST", "/register", strings.Repeat("x", 1<<20+1)), 413, "this registration was refused"},
		"a bad method":    {func(*passBench) {}, ask("DELETE", "/register", ""), 405, "this registration was refused"},
		"an encoded body": {func(*passBench) {}, ask("POST", "/register", "x", "Content-Encoding", "gzip"), 415, "this registration was refused"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newPassBench(t, nil)
			c.prepare(b)
			w := b.do(c.request)
			require.Equal(t, c.status, w.Code)
			require.True(t, strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain"), w.Header())
			sh := exec.Command("sh")
			sh.Stdin = w.Body
			out, err := sh.CombinedOutput()
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit)
			require.Equal(t, 1, exit.ExitCode())
			require.Contains(t, string(out), c.says)
			require.NotContains(t, string(out), "reboot")
		})
	}
}

func TestBodiesThatArePassedOn(t *testing.T) {
	b := newPassBench(t, func(s *passSetup) { s.limits.MaxBody = 100 << 10 })
	token := []string{"Authorization", "Bearer jwt", "Content-Type", "application/json"}
	require.Equal(t, 200, b.do(ask("POST", "/register", strings.Repeat("x", 100<<10), token...)).Code)
	require.Equal(t, 413, b.do(ask("POST", "/register", strings.Repeat("x", 100<<10+1), token...)).Code)
	require.Equal(t, 413, b.do(unsized(ask("POST", "/register", strings.Repeat("x", 100<<10+1), token...))).Code)
	autosign := "/salt/api/v2/salt_autosign_auth?name=m1"
	require.Equal(t, 200, b.do(ask("PUT", autosign, strings.Repeat("x", 64<<10))).Code)
	recorded(t, b.do(ask("PUT", autosign, strings.Repeat("x", 64<<10+1))), relay.CodeTooLarge)
	asked := b.foreman.Asked()
	require.Len(t, asked, 2)
	require.Len(t, asked[0].Body, 100<<10)
	b.counts(t, `outcome="refused",route="register"} 2`, `outcome="refused",route="salt_autosign"} 1`)
}

// What Foreman gives to the relay's certificate is not for everybody who reaches
// the relay; what is guarded by a token of its own is.
func TestWhoMayAsk(t *testing.T) {
	paths := map[string]bool{nodePath: true, "/salt/node/m1?format=yml": true, "/compliance/policies/7/content/abc": true,
		"/compliance/policies/7/tailoring/abc": true, "/unattended/provision?token=t": false, "/register": false}
	for path, trusted := range paths {
		request := ask("GET", path, "", "Authorization", "Bearer jwt")
		b := newPassBench(t, func(s *passSetup) { s.options.Loopback = false })
		w := b.do(request.Clone(t.Context()))
		if trusted {
			require.Contains(t, recorded(t, w, relay.CodeDenied).Detail, "--tls-client-ca", path)
			require.Empty(t, b.foreman.Asked())
		} else {
			require.Equal(t, 200, w.Code, path)
		}
		r := request.Clone(t.Context())
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}
		require.Equal(t, trusted, b.do(r).Code == http.StatusForbidden, "a certificate that nobody verified")
		r.TLS.VerifiedChains = [][]*x509.Certificate{{{}}}
		secret := strings.Contains(path, "node/")
		require.Equal(t, secret, b.do(r).Code == http.StatusForbidden, "%s with a certificate that nobody named", path)
	}
	b := newPassBench(t, func(s *passSetup) { s.options.Loopback = false })
	recorded(t, b.do(ask("PUT", "/salt/api/v2/salt_autosign_auth?name=m1", "")), relay.CodeDenied)
}

// Of those with a certificate, the named ones may ask about others.
func TestWhoMayAskAboutOthers(t *testing.T) {
	for name, c := range map[string]struct {
		callers []string
		cert    *x509.Certificate
		status  int // for a node
	}{
		"nobody is named":          {nil, &x509.Certificate{DNSNames: []string{"web1.example.com"}}, 403},
		"a named one":              {[]string{"other.example.com", "Puppet.example.com"}, &x509.Certificate{DNSNames: []string{"puppet", "puppet.example.com"}}, 200},
		"by its common name":       {[]string{"puppet.example.com"}, &x509.Certificate{Subject: pkix.Name{CommonName: "puppet.example.com"}}, 200},
		"another":                  {[]string{"puppet.example.com"}, &x509.Certificate{DNSNames: []string{"web1.example.com"}}, 403},
		"whose common name is one": {[]string{"puppet.example.com"}, &x509.Certificate{Subject: pkix.Name{CommonName: "puppet.example.com"}, DNSNames: []string{"web1.example.com"}}, 403},
		"without a name":           {[]string{"puppet.example.com"}, &x509.Certificate{}, 403},
	} {
		t.Run(name, func(t *testing.T) {
			b := newPassBench(t, func(s *passSetup) { s.options.Loopback, s.options.Callers = false, c.callers })
			with := func(r *http.Request) *http.Request {
				r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{c.cert}}}
				return r
			}
			require.Equal(t, c.status, b.do(with(ask("GET", nodePath, ""))).Code)
			require.Equal(t, c.status, b.do(with(ask("GET", "/salt/node/m1?format=yml", ""))).Code)
			require.Equal(t, c.status, b.do(with(ask("PUT", "/salt/api/v2/salt_autosign_auth?name=m1", ""))).Code)
			require.Equal(t, 200, b.do(with(ask("GET", "/compliance/policies/7/content/abc", ""))).Code, "hosts fetch it themselves")
		})
	}
}

// What is passed on is for organizations that are on, and counts against their
// rates, a last good answer too.
func TestThePassesOfAnOrganizationThatIsOff(t *testing.T) {
	o := relay.Organization{Name: "default", Enabled: true, Rate: relay.OrganizationRate{PerSecond: 1, Burst: 2}}
	b := newPassBench(t, func(s *passSetup) { s.organization = &o })
	require.Equal(t, 200, b.do(ask("GET", nodePath, "")).Code)
	require.Equal(t, 200, b.do(ask("GET", "/unattended/provision?token=t", "")).Code)
	recorded(t, b.do(ask("GET", nodePath, "")), relay.CodeTooManyRequests)
	b.now = b.now.Add(time.Minute)
	o.Enabled = false
	for _, r := range []*http.Request{ask("GET", nodePath, ""), ask("GET", "/unattended/provision?token=t", ""), ask("GET", "/compliance/policies/7/content/abc", "")} {
		require.Equal(t, relay.RefusedOff, recorded(t, b.do(r), relay.CodeDenied).Reason, r.URL.Path)
	}
	b.counts(t, `outcome="refused",route="node"} 2`)
}

// Who may ask about others may ask about those alone for whom it may speak: a tenant's
// own CA can give a certificate any name, a named one among them.
func TestAboutWhomMayBeAsked(t *testing.T) {
	b := newPassBench(t, func(s *passSetup) {
		s.options.Loopback, s.options.Callers = false, []string{"puppet.example.com"}
		s.callers = &handlers.CallerOptions{Forward: handlers.DefaultForward(), Hosts: map[string]string{"web9.example.com": "Beta"}, Rules: []relay.IdentityRule{
			{SubjectO: "any", Organization: "default", SpeaksFor: relay.HostsAny},
			{SubjectO: "some", Organization: "default", SpeaksFor: "web1.*"},
			{SubjectO: "own", Organization: "default"}}}
		s.callers.Forward.From = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}
	})
	const autosign, other = "/salt/api/v2/salt_autosign_auth?name=web1.example.com", "/node/web2.example.com?format=yml"
	for who, want := range map[string][4]int{"any": {200, 200, 200, 403}, "some": {200, 403, 403, 403}, "own": {403, 403, 403, 403}} {
		for i, r := range []*http.Request{ask("GET", nodePath, ""), ask("GET", other, ""), ask("PUT", autosign, ""), ask("GET", "/node/web9.example.com?format=yml", "")} {
			r.Header.Set("X-SSL-Client-Verify", "SUCCESS")
			r.Header.Set("X-SSL-Client-DN", "CN=puppet.example.com,O="+who)
			require.Equal(t, want[i], b.do(r).Code, "%s %s", who, r.URL)
		}
	}
}

// Where nobody is let in without a certificate, nothing is passed on for him.
func TestWhatIsPassedOnForNobody(t *testing.T) {
	for organization, status := range map[string]int{"": http.StatusUnauthorized, "default": http.StatusOK} {
		b := newPassBench(t, func(s *passSetup) {
			s.options.Loopback = false
			s.callers = &handlers.CallerOptions{Anonymous: organization, Forward: handlers.Forward{From: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}, Verify: "V"}}
		})
		require.Equal(t, status, b.do(ask("GET", "/unattended/provision?token=t", "")).Code, organization)
	}
}

// A caller that does not read what it asked for is cut off in time.
func TestACallerThatDoesNotRead(t *testing.T) {
	b := newPassBench(t, func(s *passSetup) { s.limits.Timeout = 2 * time.Second })
	b.foreman.SetContent(make([]byte, 32<<20))
	s := httptest.NewUnstartedServer(b)
	s.Config = handlers.NewServer(b, nil, zerolog.Nop())
	s.Start()
	defer s.Close()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, "GET /compliance/policies/7/content/abc HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		return strings.Contains(scrape(t, b.registry), `foreman_relay_pass_through_total{outcome="cut",route="scap_content"} 1`)
	}, 20*time.Second, 20*time.Millisecond)
}

func TestPassMetricsFromTheStart(t *testing.T) {
	b := newPassBench(t, nil)
	for _, p := range foreman.Passes(foreman.DefaultPassLimits()) {
		for _, outcome := range []string{"passed", "stale", "away", "busy", "refused", "cut"} {
			b.counts(t, `outcome="`+outcome+`",route="`+p.Name+`"} 0`)
		}
	}
	b.do(ask("GET", nodePath, ""))
	require.Contains(t, scrape(t, b.registry), `foreman_relay_http_requests_total{code="200",route="node"} 1`)
}

// A stream that breaks off ends the caller's connection, so that nobody takes it
// for the whole; so does one that is too large.
func TestAStreamThatBreaksOff(t *testing.T) {
	const size = 300 << 10
	for name, limit := range map[string]int64{"lost": size + 1, "too large": size - 1} {
		t.Run(name, func(t *testing.T) {
			b := newPassBench(t, func(s *passSetup) { s.limits.MaxAnswer = limit })
			b.foreman.SetContent([]byte(strings.Repeat("x", size)))
			if name == "lost" {
				b.foreman.SetRules(standin.Rule{Mode: standin.DropAfter})
			}
			s := httptest.NewUnstartedServer(b)
			s.Config = handlers.NewServer(b, nil, zerolog.Nop())
			s.Start()
			defer s.Close()
			resp, err := http.Get(s.URL + "/compliance/policies/7/content/abc")
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, resp.StatusCode)
			got, err := io.ReadAll(resp.Body)
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			require.NoError(t, resp.Body.Close())
			require.LessOrEqual(t, int64(len(got)), limit)
			http.DefaultClient.CloseIdleConnections()
			b.counts(t, `outcome="cut",route="scap_content"} 1`, `outcome="passed",route="scap_content"} 0`)
		})
	}
}

// The address that Foreman is told is that of the connection.
func TestTheClientsAddress(t *testing.T) {
	b := newPassBench(t, nil)
	for remote, want := range map[string]string{"[2001:db8::1]:5": "2001:db8::1", "192.0.2.9:1": "192.0.2.9", "@": "@"} {
		b.foreman.Forget()
		r := ask("GET", nodePath, "")
		r.RemoteAddr = remote
		require.Equal(t, 200, b.do(r).Code)
		require.Equal(t, want, b.foreman.Asked()[0].Header.Get("X-Forwarded-For"))
	}
}

// Only the templates themselves, and never what is stored, however it is spelled.
func TestWhatIsNoTemplate(t *testing.T) {
	for _, path := range []string{"/unattended/template/1/2", "/unattended/built/", "/unattended/%62uilt"} {
		b := newPassBench(t, nil)
		require.Equal(t, http.StatusNotFound, b.do(ask("GET", path, "")).Code, path)
		require.Empty(t, b.foreman.Asked(), path)
	}
}

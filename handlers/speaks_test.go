package handlers_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

// shows is a request over TLS with this certificate, as it came: nobody has
// verified it yet.
func shows(r *http.Request, pair tls.Certificate) *http.Request {
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{pair.Leaf}}
	return r
}

// tenants is an edge with hosts, a proxy and an application of two organizations.
func tenants(t *testing.T, change func(*handlers.CallerOptions)) *listening {
	t.Helper()
	return listen(t, newTree(t), nil, false, func(o *handlers.CallerOptions) {
		o.Rules = []relay.IdentityRule{
			{CN: "proxy*", SubjectO: "*", Organization: relay.OrganizationOfSubject, SpeaksFor: relay.HostsAny},
			{CN: "lab", Organization: "ACME Inc", SpeaksFor: "own, *.lab.example.com"},
			{SubjectO: "*", Organization: relay.OrganizationOfSubject},
		}
		if change != nil {
			change(o)
		}
	})
}

func (l *listening) member(cn, organization string, names ...string) tls.Certificate {
	return l.tree.between.issue(cn, func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: cn, Organization: []string{organization}}
		c.DNSNames = names
	})
}

func reportOf(host string) string {
	return strings.Replace(report, "Web01.Example.COM", host, 1)
}

// TestForWhomMayItSpeak: the hosts in body, path and query are held against the
// sender; what it may not send is never stored.
func TestForWhomMayItSpeak(t *testing.T) {
	l := tenants(t, nil)
	host := l.member("WEB01.example.com", "ACME Inc", "alias.example.com", "*.wild.example.com")
	lab, proxy := l.member("lab", "ACME Inc", "jump.example.com"), l.member("proxy1", "ACME Inc")
	salt := func(minions ...string) string {
		return `{"job":{"function":"state.highstate","job_id":"1","result":{"` + strings.Join(minions, `":{},"`) + `":{}}}}`
	}
	callback := `{"callback":{"task_id":"7f6a","step_id":1},"data":{}}`
	puppet := "--- !ruby/object:Puppet::Transaction::Report\nhost: %s\n"
	for _, c := range []struct {
		name   string
		sender tls.Certificate
		path   string
		body   string
		status int
	}{
		{"its own", host, reportPath, reportOf("web01.example.com"), 201},
		{"in capitals", host, reportPath, reportOf("Web01.EXAMPLE.com"), 201},
		{"with a dot at the end", host, reportPath, reportOf("web01.example.com."), 201},
		{"by another of its names", host, reportPath, reportOf("alias.example.com"), 201},
		{"another's", host, reportPath, reportOf("web02.example.com"), 403},
		{"a name that begins with its own", host, reportPath, reportOf("web01.example.com.evil.org"), 403},
		{"its short name", host, reportPath, reportOf("web01"), 403},
		{"a name under its wildcard", host, reportPath, reportOf("a.wild.example.com"), 403},
		{"letters that only look like it", host, reportPath, reportOf("web01.example.com\u212a"), 403},
		{"a host behind the first", host, reportPath, `{"config_report":{"host":"web01.example.com","reported_at":"2026-11-23 11:59:00 UTC"},"config_report":{"host":"web02.example.com","reported_at":"2026-11-23 11:59:00 UTC"}}`, 403},
		{"facts", host, factsPath, facts, 202},
		{"facts with its certname", host, factsPath, `{"name":"alias.example.com","certname":"web01.example.com","facts":{}}`, 202},
		{"facts with another's certname", host, factsPath, `{"name":"web01.example.com","certname":"web02.example.com","facts":{}}`, 403},
		{"facts with a list of certnames", host, factsPath, `{"name":"web01.example.com","certname":["web02.example.com"],"facts":{}}`, 403},
		{"facts with a certname in the query", host, factsPath + "?certname=web02.example.com", facts, 403},
		{"facts with a list in the query", host, factsPath + "?certname[]=web02.example.com", facts, 403},
		{"a host report", host, "/api/v2/host_reports", `{"host_report":{"host":"web02.example.com","format":"plain","reported_at":"2026-11-23 11:59:00 UTC","body":"{}","version":1,"change":0,"nochange":0,"failure":0}}`, 403},
		{"Ansible", host, "/reports/ansible", `{"host":"web02.example.com","reported_at":"2026-11-23 11:59:00","status":{},"metrics":{},"results":[],"check_mode":false}`, 403},
		{"Puppet", host, "/reports/puppet", fmt.Sprintf(puppet, "web01.example.com"), 202},
		{"Puppet, another's", host, "/reports/puppet", fmt.Sprintf(puppet, "web02.example.com"), 403},
		{"Puppet, another's after its own", host, "/reports/puppet", fmt.Sprintf(puppet, "web01.example.com\nhost: web02.example.com"), 403},
		{"Puppet, another's before its own", host, "/reports/puppet", fmt.Sprintf(puppet, "web02.example.com\nhost: web01.example.com"), 403},
		{"Puppet, one that cannot be read after its own", host, "/reports/puppet", fmt.Sprintf(puppet, "web01.example.com\nhost: [web02.example.com]"), 403},
		{"Puppet, too many", host, "/reports/puppet", fmt.Sprintf(puppet, "web01.example.com"+strings.Repeat("\nhost: web01.example.com", 8)), 403},
		{"a job of its own", host, "/salt/api/v2/jobs/upload", salt("web01.example.com"), 200},
		{"a job of others too", host, "/salt/api/v2/jobs/upload", salt("web01.example.com", "web02.example.com"), 403},
		{"a job of nobody", host, "/salt/api/v2/jobs/upload", `{"job":{"function":"f","job_id":"1","result":{}}}`, 403},
		{"a callback", host, "/foreman_tasks/api/tasks/callback", callback, 403},
		{"a callback of a proxy", proxy, "/foreman_tasks/api/tasks/callback", callback, 200},
		{"an ARF report in the path", host, "/api/v2/compliance/arf_reports/web02.example.com/1/1700000000", `{"logs":[],"digest":"d","metrics":{"passed":0,"failed":0,"othered":0}}`, 403},
		{"its own ARF report", host, "/compliance/arf/7", bzip2, 200},
		{"of the pattern", lab, reportPath, reportOf("a.b.lab.example.com"), 201},
		{"its own, beside the pattern", lab, reportPath, reportOf("jump.example.com"), 201},
		{"not of the pattern", lab, reportPath, reportOf("lab.example.com"), 403},
		{"any", proxy, reportPath, reportOf("web02.example.com"), 201},
		{"any, with a query", proxy, factsPath + "?certname=web02.example.com", facts, 403},
		{"a message of no host", host, "/relay/v1/queues/ACME%20Inc/foreman/messages", "x", 202},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := post(c.path, c.body)
			if strings.HasPrefix(c.path, "/reports/puppet") {
				r.Header.Set("Content-Type", "application/x-yaml")
			}
			before := len(l.intake.accepted())
			w := l.do(shows(r, c.sender))
			require.Equal(t, c.status, w.Code, w.Body)
			if c.status == http.StatusForbidden {
				require.Equal(t, "not_its_host", recorded(t, w, relay.CodeDenied).Reason)
				require.Len(t, l.intake.accepted(), before)
			}
		})
	}
	ordered := func(key string) int {
		return l.do(shows(post("/relay/v1/queues/ACME%20Inc/foreman/messages", "x", "Relay-Ordering-Key", key), host)).Code
	}
	require.Equal(t, []int{202, 403}, []int{ordered("web01.example.com"), ordered("web02.example.com")}, "a lane holds up its host")
	named := func(host string, sender tls.Certificate) int {
		return l.do(shows(post("/relay/v1/queues/ACME%20Inc/foreman/messages", reportOf(host), "Relay-Route", "report"), sender)).Code
	}
	require.Equal(t, []int{202, 403}, []int{named("web01.example.com", host), named("web02.example.com", host)}, "by the route's name")
}

// TestAHostOfAnotherOrganization: what is known is what the operator said, and
// what hosts have shown of themselves.
func TestAHostOfAnotherOrganization(t *testing.T) {
	l := tenants(t, func(o *handlers.CallerOptions) {
		o.Hosts, o.Remember = map[string]string{"Fixed.example.com.": "Beta"}, 2
	})
	acme, beta := l.member("proxy-a", "ACME Inc"), l.member("proxy-b", "Beta")
	sends := func(sender tls.Certificate, host string) string {
		w := l.do(shows(post(reportPath, reportOf(host)), sender))
		if w.Code == http.StatusCreated {
			return ""
		}
		p := recorded(t, w, relay.CodeDenied)
		require.NotContains(t, p.Detail, "ACME", "whose it is is nobody's business")
		return p.Reason
	}
	const foreign = "host_of_another_organization"
	require.Empty(t, sends(beta, "fixed.example.com"))
	w := l.do(shows(post(reportPath, reportOf("fixed.example.com")), acme))
	require.Equal(t, foreign, recorded(t, w, relay.CodeDenied).Reason)

	require.Empty(t, sends(beta, "web01.example.com"), "nothing is known of it")
	require.Empty(t, sends(l.member("web01.example.com", "ACME Inc"), "web01.example.com"))
	require.Equal(t, foreign, sends(beta, "web01.example.com"))
	require.Equal(t, foreign, sends(l.member("web01.example.com", "Beta"), "web01.example.com"), "another CA with the same name")
	require.Empty(t, sends(acme, "web01.example.com"))

	for _, host := range []string{"web02.example.com", "web03.example.com"} {
		require.Empty(t, sends(l.member(host, "ACME Inc"), host))
	}
	require.Empty(t, sends(beta, "web01.example.com"), "two are remembered")
	require.Equal(t, foreign, sends(beta, "web03.example.com"))
}

// TestTenantsAreApart: one organization can neither publish to another's queue
// nor learn whether a queue or a message of its is there.
func TestTenantsAreApart(t *testing.T) {
	l := tenants(t, nil)
	acme := l.member("proxy-a", "ACME Inc")
	asked := 0
	l.intake.status = func(id string) (relay.MessageStatus, error) {
		asked++
		if strings.HasSuffix(id, strings.Repeat("a", 24)) {
			return relay.MessageStatus{ID: id, State: relay.Queued}, nil
		}
		return relay.MessageStatus{}, relay.Refuse(relay.CodeNotFound, "there is no message %q", id)
	}
	told := func(r *http.Request) string {
		w := l.do(shows(r, acme))
		require.Equal(t, http.StatusNotFound, w.Code, w.Body)
		return strings.ReplaceAll(recorded(t, w, relay.CodeNotFound).Detail, r.Header.Get("For"), "IT") + fmt.Sprint(w.Header())
	}
	into := func(queue string) *http.Request {
		return post("/relay/v1/queues/"+strings.ReplaceAll(queue, " ", "%20")+"/messages", "x", "For", queue, "X-Request-Id", "1")
	}
	unknown := told(into("ACME Inc/none"))
	for _, queue := range []string{"Beta/foreman", "Beta/none", "Nobody/foreman", "default/foreman"} {
		require.Equal(t, unknown, told(into(queue)), queue)
	}
	require.Empty(t, l.intake.accepted())

	id := func(organization, letter string) string {
		return relay.Queue{Organization: organization, Destination: "foreman"}.Token() + "-" + strings.Repeat(letter, 24)
	}
	about := func(id string) *http.Request {
		r := httptest.NewRequest(http.MethodGet, "/relay/v1/messages/"+id, nil)
		r.Header.Set("For", id)
		r.Header.Set("X-Request-Id", "1")
		return r
	}
	require.Equal(t, 200, l.do(shows(about(id("ACME Inc", "a")), acme)).Code)
	nothing := told(about(id("ACME Inc", "b")))
	require.Equal(t, 2, asked)
	for _, other := range []string{id("Beta", "a"), id("Beta", "b"), id("default", "a"), id("Nobody", "a")} {
		require.Equal(t, nothing, told(about(other)), other)
	}
	require.Equal(t, 2, asked, "the same work too: nothing is looked up")
	require.Contains(t, scrape(t, l.registry), `foreman_relay_refused_callers_total{reason="other_organization"} 8`)

	anybody := httptest.NewRequest(http.MethodGet, "/relay/v1/messages/"+id("ACME Inc", "a"), nil)
	anybody.TLS = &tls.ConnectionState{}
	w := l.do(anybody)
	require.Equal(t, "no_certificate", recorded(t, w, relay.CodeUnauthenticated).Reason)
	require.NotEmpty(t, w.Header().Get("WWW-Authenticate"))
}

// TestNobodyIsAsked: without client certificates all are one organization, and
// speak for any host; what they claim of themselves in headers is not believed.
func TestNobodyIsAsked(t *testing.T) {
	b := newEdge(t, nil)
	w := b.do(post(reportPath, report, "X-SSL-Client-Verify", "SUCCESS", "X-SSL-Client-DN", "CN=a,O=Beta"))
	require.Equal(t, http.StatusCreated, w.Code)
	m := b.intake.one(t)
	require.Equal(t, []string{"default", ""}, []string{m.Queue.Organization, m.Sender})
}

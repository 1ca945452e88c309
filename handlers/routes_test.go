package handlers_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

// withCertificate is a request as a TLS server passes it on that has verified
// the client's certificate.
func withCertificate(r *http.Request, name string) *http.Request {
	cert := &x509.Certificate{Subject: pkix.Name{CommonName: name}}
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}, VerifiedChains: [][]*x509.Certificate{{cert}}}
	return r
}

const bzip2 = "BZh91AY&SY"

// TestARF: the host is that of the certificate; the client is told digits.
func TestARF(t *testing.T) {
	b := newEdge(t, nil)
	w := b.do(withCertificate(retype(post("/compliance/arf/7", bzip2, "Content-Encoding", "x-bzip2"), "text/xml"), "Web01.Example.COM"))
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	m := b.intake.one(t)
	require.Equal(t, []any{"arf", "web01.example.com", "x-bzip2", "text/xml", bzip2}, []any{m.Route, m.Lane, m.ContentEncoding, m.ContentType, string(m.Body)})
	require.Equal(t, fmt.Sprintf("/api/v2/compliance/arf_reports/web01.example.com/7/%d", noon.Unix()+1), m.Path, "the second of the start is left to the process before")
	require.Equal(t, "arf\x1fweb01.example.com\x1f7\x1f"+m.Digest, m.Key)
	require.JSONEq(t, `{"result":"ok","id":"`+relay.Digits(m.ID)+`"}`, w.Body.String())
	require.Regexp(t, `"id":\s*"\d+"`, w.Body.String())
	require.Equal(t, m.ID, w.Header().Get("Relay-Message-Id"))
}

// TestARFTimes: Foreman knows two reports of a host by their second alone.
func TestARFTimes(t *testing.T) {
	now := noon
	b := newEdge(t, func(o *handlers.EdgeOptions) { o.Now = func() time.Time { return now } })
	send := func(host, policy string) string {
		w := b.do(withCertificate(post("/compliance/arf/"+policy, bzip2), host))
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		all := b.intake.accepted()
		return strings.TrimPrefix(all[len(all)-1].Path, "/api/v2/compliance/arf_reports/")
	}
	at := func(host, policy string, seconds int64) string {
		return fmt.Sprintf("%s/%s/%d", host, policy, noon.Unix()+seconds)
	}
	now = noon.Add(10 * time.Second)
	require.Equal(t, at("a", "1", 10), send("a", "1"))
	require.Equal(t, at("a", "2", 11), send("a", "2"))
	require.Equal(t, at("b", "1", 10), send("b", "1"), "another host's")
	require.Equal(t, at("a", "3", 12), send("a", "3"))
	now = noon.Add(5 * time.Second)
	require.Equal(t, at("a", "4", 13), send("a", "4"), "also when the clock is set back")
	now = noon.Add(time.Minute)
	require.Equal(t, at("a", "5", 60), send("a", "5"))
}

// TestARFWithoutItsHost: nobody reports for a host without its certificate.
func TestARFWithoutItsHost(t *testing.T) {
	b := newEdge(t, nil)
	unverified := withCertificate(post("/compliance/arf/7", bzip2), "a")
	unverified.TLS.VerifiedChains = nil
	for name, r := range map[string]*http.Request{"no TLS": post("/compliance/arf/7", bzip2), "not verified": unverified,
		"no name": withCertificate(post("/compliance/arf/7", bzip2), " ")} {
		w := b.do(r)
		require.Equal(t, http.StatusForbidden, w.Code, name)
		recorded(t, w, relay.CodeDenied)
	}
	require.Contains(t, b.do(post("/compliance/arf/7", bzip2)).Body.String(), "No client SSL certificate supplied")
	w := b.do(withCertificate(post("/compliance/arf/7", "<xml/>"), "a"))
	require.Equal(t, http.StatusUnprocessableEntity, w.Code)
	require.Contains(t, recorded(t, w, relay.CodeInvalid).Detail, `"BZh"`)
	require.Empty(t, b.intake.accepted())
}

// TestUnattended: what Foreman finds the host by travels, but not what the host
// says of its own address; and nobody who sees lanes and keys sees the token.
func TestUnattended(t *testing.T) {
	b := newEdge(t, nil)
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		r := httptest.NewRequest(method, "/unattended/built?token=s3cret", nil)
		r.RemoteAddr = "[2001:db8::7]:4711"
		for name, value := range map[string]string{"X-Forwarded-For": "192.0.2.66", "X-RHN-Provisioning-MAC-0": "eth0 00:16:3e:00:00:01",
			"X-RHN-Provisioning-MAC-1": "eth1 00:16:3e:00:00:02", "X-RHN-Other": "no", "Authorization": "no"} {
			r.Header.Set(name, value)
		}
		require.Equal(t, http.StatusCreated, b.do(r).Code)
	}
	all := b.intake.accepted()
	require.Equal(t, []string{http.MethodGet, http.MethodPost}, []string{all[0].Method, all[1].Method})
	require.Equal(t, all[0].ID, all[1].ID, "one token, one end of the installation")
	m := all[0]
	require.Equal(t, "/unattended/built?token=s3cret", m.Path)
	require.Equal(t, map[string]string{"X-Forwarded-For": "2001:db8::7", "X-Rhn-Provisioning-Mac-0": "eth0 00:16:3e:00:00:01",
		"X-Rhn-Provisioning-Mac-1": "eth1 00:16:3e:00:00:02"}, m.Header)
	require.Empty(t, m.ContentType, "there is no body")
	require.NotContains(t, m.Lane+m.Key, "s3cret")
	require.NotContains(t, b.log.String(), "s3cret")

	b = newEdge(t, nil)
	require.Equal(t, http.StatusCreated, b.do(retype(post("/unattended/built", ""), "text/plain")).Code)
	m = b.intake.one(t)
	require.Equal(t, []string{"192.0.2.1", ""}, []string{m.Lane, m.Key}, "an address is built again and again")

	b = newEdge(t, func(o *handlers.EdgeOptions) { o.MaxBody = 1 << 20 })
	require.Equal(t, http.StatusCreated, b.do(post("/unattended/failed", strings.Repeat("x", 65535))).Code)
	require.Equal(t, http.StatusRequestEntityTooLarge, b.do(post("/unattended/failed", strings.Repeat("x", 65536))).Code)
	r := post("/unattended/failed", "x")
	for i := range 33 {
		r.Header.Set(fmt.Sprint("X-RHN-Provisioning-MAC-", i), "eth0 x")
	}
	require.Equal(t, http.StatusBadRequest, b.do(r).Code)
}

// TestReplies: the body that each client looks for; a repeated request gets the
// same.
func TestReplies(t *testing.T) {
	for path, c := range map[string]struct {
		body, lane string
		status     int
		says       string // part of the answer
	}{
		"/salt/api/v2/jobs/upload":                  {`{"job":{"function":"state.highstate","result":{"Minion1":{}}}}`, "minion1", 200, `{"task_id":"`},
		"/foreman_tasks/api/tasks/callback":         {`{"callback":{"task_id":"T-1","step_id":3},"data":{}}`, "t-1", 200, `{"message":"processing"}`},
		"/api/v2/host_reports":                      {`{"host_report":{"host":"A"}}`, "a", 202, `"durability"`},
		"/reports/ansible":                          {`{"host":"A","results":[]}`, "a", 202, `"durability"`},
		"/host_reports/ansible":                     {`{"host":"A"}`, "a", 202, `"durability"`},
		"/api/v2/compliance/arf_reports/Web1/7/123": {`{"logs":[]}`, "web1", 200, `"result":"ok"`},
	} {
		b := newEdge(t, nil)
		first, second := b.do(post(path, c.body)), b.do(post(path, c.body))
		require.Equal(t, c.status, first.Code, "%s: %s", path, first.Body)
		require.Contains(t, first.Body.String(), c.says)
		require.Equal(t, first.Body.String(), second.Body.String())
		all := b.intake.accepted()
		require.Equal(t, c.lane, all[0].Lane, path)
		require.NotEmpty(t, all[0].Key, path)
		require.Equal(t, all[0].ID, all[1].ID, path)
		require.Equal(t, path, all[0].Path)
	}
}

// TestManyMinions: a job of many, and a list of callbacks, have no order with
// anything.
func TestManyMinions(t *testing.T) {
	for path, body := range map[string]string{
		"/salt/api/v2/jobs/upload":          `{"job":{"function":"state.highstate","result":{"m1":{},"m2":{}}}}`,
		"/foreman_tasks/api/tasks/callback": `{"callbacks":[{"callback":{"task_id":"a"}},{"callback":{"task_id":"b"}}]}`,
	} {
		b := newEdge(t, nil)
		require.Equal(t, http.StatusOK, b.do(post(path, body)).Code)
		require.Empty(t, b.intake.one(t).Lane)
	}
}

// TestPuppetYAML is stored as it came; a report of nobody is refused.
func TestPuppetYAML(t *testing.T) {
	b := newEdge(t, nil)
	body := "--- !ruby/object:Puppet::Transaction::Report\nhost: Web01.example.com\n"
	require.Equal(t, http.StatusAccepted, b.do(retype(post("/reports/puppet", body), "application/x-yaml; charset=utf-8")).Code)
	m := b.intake.one(t)
	require.Equal(t, []string{"puppet", "web01.example.com", body, "/reports/puppet"}, []string{m.Route, m.Lane, string(m.Body), m.Path})
	require.Equal(t, http.StatusUnsupportedMediaType, b.do(post("/host_reports/puppet", body)).Code)
	w := b.do(retype(post("/reports/puppet", "--- {}\n"), "application/x-yaml"))
	require.Equal(t, http.StatusUnprocessableEntity, w.Code)
	require.Contains(t, recorded(t, w, relay.CodeInvalid).Detail, "host: NAME")
	require.Len(t, b.intake.accepted(), 1)
}

// TestRefusedForEver: what the schemas of the further routes refuse.
func TestRefusedForEver(t *testing.T) {
	b := newEdge(t, nil)
	for path, bodies := range map[string][]string{
		"/salt/api/v2/jobs/upload":               {`{}`, `{"job":[]}`, `{"job":{"function":1,"result":{}}}`, `{"job":{"function":"f"}}`, `{`},
		"/foreman_tasks/api/tasks/callback":      {`{}`, `{"callback":{}}`, `{"callback":{"task_id":7}}`, `{"callbacks":{}}`},
		"/api/v2/host_reports":                   {`{}`, `{"host_report":{}}`, `{"host_report":{"host":" "}}`},
		"/reports/ansible":                       {`{"results":[]}`, `{"host":"a","results":{}}`},
		"/api/v2/compliance/arf_reports/a/7/123": {`[]`, `"x"`},
	} {
		for _, body := range bodies {
			w := b.do(post(path, body))
			require.Contains(t, []int{http.StatusUnprocessableEntity, http.StatusBadRequest}, w.Code, "%s %s", path, body)
			var p handlers.Problem
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p))
			require.NotEmpty(t, p.Detail)
		}
	}
	require.Empty(t, b.intake.accepted())
}

// TestRoutesByName: a route whose requests are no more than a body can be used
// for any queue of its destination; the others say where to send it.
func TestRoutesByName(t *testing.T) {
	b := newEdge(t, nil)
	w := b.do(post(queuePath, `{"job":{"function":"f","result":{"m":{}}}}`, "Relay-Route", "salt"))
	require.Equal(t, http.StatusAccepted, w.Code, w.Body)
	require.Contains(t, w.Body.String(), `"durability"`, "who knows the relay gets its receipt")
	m := b.intake.one(t)
	require.Equal(t, []string{"/salt/api/v2/jobs/upload", "m"}, []string{m.Path, m.Lane})
	for _, name := range []string{"arf", "arfreport", "built", "failed"} {
		w := b.do(post(queuePath, bzip2, "Relay-Route", name))
		require.Equal(t, http.StatusUnprocessableEntity, w.Code, name)
		require.Contains(t, recorded(t, w, relay.CodeInvalid).Detail, "send it to /")
	}
}

// What has further parts, or dots for one, would be taken and never delivered.
func TestAnARFsPathHasItsPartsAndNoMore(t *testing.T) {
	for _, path := range []string{"/compliance/arf/5/", "/compliance/arf/5/6", "/compliance/arf/..", "/compliance/arf/5%2F6"} {
		b := newEdge(t, nil)
		w := b.do(withCertificate(post(path, bzip2), "web01.example.com"))
		require.Equal(t, http.StatusNotFound, w.Code, path)
		require.Empty(t, b.intake.accepted(), path)
	}
}

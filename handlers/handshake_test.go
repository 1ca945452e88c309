package handlers_test

import (
	"context"
	"crypto/x509"
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

// keeper is a store without organizations, that keeps one record.
type keeper struct {
	record   relay.HandshakeRecord
	revision uint64
}

func (s *keeper) Organizations(context.Context) ([]relay.Organization, error) { return nil, nil }

func (s *keeper) Organization(context.Context, string) (relay.Organization, uint64, error) {
	return relay.Organization{}, 0, relay.Refuse(relay.CodeNotFound, "none")
}

func (s *keeper) PutOrganization(context.Context, relay.Organization, uint64) (uint64, error) {
	return 1, nil
}

func (s *keeper) Handshake(context.Context) (relay.HandshakeRecord, uint64, error) {
	return s.record, s.revision, nil
}

func (s *keeper) PutHandshake(_ context.Context, r relay.HandshakeRecord, _ uint64) (uint64, error) {
	s.record, s.revision = r, s.revision+1
	return s.revision, nil
}

const handshakePath = "/relay/v1/handshake"

// greeted is an edge that takes handshakes of foreman.example.com.
func greeted(t *testing.T, hosts ...string) (*bench, *keeper) {
	t.Helper()
	s := &keeper{}
	h := relay.NewHandshaker(relay.HandshakerOptions{Store: s, Now: func() time.Time { return noon }, CheckMore: func(relay.Handshake) []relay.Violation { return nil }})
	return newEdge(t, func(o *handlers.EdgeOptions) {
		o.Handshaker = h
		trusted(hosts...)(&o.SmartProxy)
		if hosts == nil {
			o.SmartProxy.Trust.Hosts = nil
		}
	}), s
}

// give posts a document as Foreman does; headers come in pairs.
func give(document string, headers ...string) *http.Request {
	r := post(handshakePath, document, headers...)
	r.TLS = over("/", named("foreman.example.com")).TLS
	return r
}

func TestWhoMayGiveAHandshake(t *testing.T) {
	nobody, listed := []string(nil), []string{"foreman.example.com"}
	for name, c := range map[string]struct {
		hosts []string
		cert  *x509.Certificate
		plain bool
		says  string // empty: let in
	}{
		"Foreman":                   {listed, named("Foreman.example.com"), false, ""},
		"Foreman without TLS":       {listed, nil, true, "over TLS only"},
		"a host":                    {listed, named("web01.example.com"), false, "Untrusted client web01.example.com"},
		"no certificate":            {listed, nil, false, "could not read client cert"},
		"whoever has one":           {nobody, named("foreman.example.com"), false, "nobody is trusted with the handshake"},
		"a name that is no subject": {listed, &x509.Certificate{DNSNames: []string{"foreman.example.com"}}, false, "could not read CN"},
	} {
		for _, method := range []string{http.MethodPost, http.MethodGet} {
			b, s := greeted(t, c.hosts...)
			r := httptest.NewRequest(method, handshakePath, strings.NewReader(`{"version":1}`))
			r.Header.Set("Content-Type", "application/json")
			if !c.plain {
				r.TLS = over("/", c.cert).TLS
			}
			w := b.do(r)
			switch {
			case c.says != "":
				require.Contains(t, recorded(t, w, relay.CodeDenied).Detail, c.says, name)
				require.Zero(t, s.revision, name)
			case method == http.MethodPost:
				require.Equal(t, http.StatusOK, w.Code, w.Body)
			default:
				recorded(t, w, relay.CodeNotFound)
			}
		}
	}
	recorded(t, newEdge(t, nil).do(give(`{"version":1}`)), relay.CodeNotFound)
}

// A document, a dry run, the same again, and one that comes too late: each with its
// ETag.
func TestAHandshakeAndItsTag(t *testing.T) {
	b, s := greeted(t, "foreman.example.com")
	do := func(r *http.Request, status int, tag string) string {
		t.Helper()
		w := b.do(r)
		require.Equal(t, status, w.Code, w.Body)
		require.Equal(t, tag, w.Header().Get("ETag"))
		return w.Body.String()
	}
	dry := give(`{"version":1,"organizations":{"A <&> B":{}}}`)
	dry.URL.RawQuery = "dry_run=true"
	require.Contains(t, do(dry, 200, `"0"`), `"dry_run":true,"differences":{"added":["/organizations/A <&> B"]`)
	require.Zero(t, s.revision)
	require.Contains(t, do(give(`{"version":1,"organizations":{"A":{}}}`), 200, `"1"`), `"changed":true`)
	require.Contains(t, do(give(`{"version":1,"organizations":{"A":{}}}`, "If-Match", `"77"`), 200, `"1"`), `"changed":false`)
	require.Contains(t, do(give(`{"version":1}`), 409, `"1"`), `If-Match: \"1\"`)
	do(give(`{"version":1}`, "If-Match", `"1"`), 200, `"2"`)
	require.Contains(t, do(give(`{"version":1,"organizations":{"A":{}}}`, "If-Match", `"1"`), 409, `"2"`), "the revision is 2, not 1")
	do(give(`{"version":1,"organizations":{"A":{}}}`, "If-Match", `*`), 200, `"3"`)
	show := over(handshakePath, named("foreman.example.com"))
	require.Equal(t, `{"revision":3,"document":{"version":1,"organizations":{"A":{}}}}`, do(show, 200, `"3"`))
}

// What is wrong is told with its place, and nothing of a secret is told, logged or
// kept.
func TestHandshakesThatAreRefused(t *testing.T) {
	const secret = "hunter2hunter2"
	organizations := func(n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(`"o%d":{}`, i))
		}
		return `{"version":1,"organizations":{` + strings.Join(all, ",") + `}}`
	}
	credentials := func(n int) string {
		return `{"version":1,"credentials":[` + strings.TrimSuffix(strings.Repeat(`{"organization":"A","destination":"d","sealed":"x"},`, n), ",") + `]}`
	}
	for name, c := range map[string]struct {
		document string
		headers  []string
		code     relay.Code
		says     string
	}{
		"no JSON":                  {`{"version":`, nil, relay.CodeMalformed, "not JSON"},
		"two documents":            {`{"version":1}{}`, nil, relay.CodeMalformed, "something follows"},
		"another version":          {`{"version":2}`, nil, relay.CodeInvalid, "/version"},
		"no version":               {`{}`, nil, relay.CodeInvalid, "/version"},
		"a member nobody knows":    {`{"version":1,"organisations":{}}`, nil, relay.CodeInvalid, `has "organisations", which is not known here`},
		"below":                    {`{"version":1,"organizations":{"A":{"qouta":{}}}}`, nil, relay.CodeInvalid, `"qouta"`},
		"a rule for another":       {`{"version":1,"organizations":{"A":{"rules":[{"cn":"*","organization":"B"}]}}}`, nil, relay.CodeInvalid, `"organization"`},
		"a rule for whoever":       {`{"version":1,"organizations":{"A":{"rules":[{"speaks_for":"any"}]}}}`, nil, relay.CodeInvalid, "/organizations/A/rules/0"},
		"a rule for all":           {`{"version":1,"organizations":{"A":{"rules":[{}]}}}`, nil, relay.CodeInvalid, "/organizations/A/rules/0"},
		"a weight above":           {`{"version":1,"organizations":{"A":{"weight":1001}}}`, nil, relay.CodeInvalid, "/organizations/A/weight"},
		"a quota below":            {`{"version":1,"organizations":{"A":{"quota":{"bytes":-1}}}}`, nil, relay.CodeInvalid, "/organizations/A/quota/bytes"},
		"a long name":              {`{"version":1,"organizations":{"` + strings.Repeat("x", 256) + `":{}}}`, nil, relay.CodeInvalid, "/organizations"},
		"no name":                  {`{"version":1,"organizations":{"":{}}}`, nil, relay.CodeInvalid, "/organizations"},
		"1001 organizations":       {organizations(1001), nil, relay.CodeInvalid, "/organizations"},
		"1001 credentials":         {credentials(1001), nil, relay.CodeInvalid, "/credentials"},
		"101 rules":                {`{"version":1,"organizations":{"A":{"rules":[` + strings.TrimSuffix(strings.Repeat(`{"cn":"x"},`, 101), ",") + `]}}}`, nil, relay.CodeInvalid, "/organizations/A/rules"},
		"a destination's name":     {`{"version":1,"destinations":{"Hook":{}}}`, nil, relay.CodeInvalid, "/destinations"},
		"more than a mebibyte":     {`{"version":1}` + strings.Repeat(" ", 1<<20), nil, relay.CodeTooLarge, "1048576 bytes"},
		"another type":             {`{"version":1}`, []string{"Content-Type", "text/plain"}, relay.CodeUnsupportedMediaType, ""},
		"a tag that is none":       {`{"version":1}`, []string{"If-Match", "3"}, relay.CodeMalformed, "If-Match"},
		"a weak tag":               {`{"version":1}`, []string{"If-Match", `W/"3"`}, relay.CodeMalformed, "If-Match"},
		"a password":               {`{"version":1,"organizations":{"A":{}},"credentials":[{"organization":"A","destination":"hook","sealed":"` + secret + `"}]}`, nil, relay.CodeInvalid, "is not sealed"},
		"a password where none is": {`{"version":1,"credentials":[{"organization":"A","destination":"hook","sealed":{"password":"` + secret + `"}}]}`, nil, relay.CodeInvalid, "/credentials/0/sealed"},
		"a password beside":        {`{"version":1,"credentials":[{"organization":"A","destination":"hook","sealed":"x","password":"` + secret + `"}]}`, nil, relay.CodeInvalid, `"password"`},
	} {
		t.Run(name, func(t *testing.T) {
			b, s := greeted(t, "foreman.example.com")
			r := give(c.document)
			for i := 0; i < len(c.headers); i += 2 {
				r.Header.Set(c.headers[i], c.headers[i+1])
			}
			w := b.do(r)
			p := recorded(t, w, c.code)
			require.Contains(t, p.Detail, c.says)
			require.Zero(t, s.revision)
			require.NotContains(t, w.Body.String()+b.log.String(), secret)
		})
	}
	b, _ := greeted(t, "foreman.example.com")
	require.Equal(t, http.StatusOK, b.do(give(organizations(1000))).Code)
	r := give(`{"version":1}`)
	r.URL.RawQuery = "dry_run=yes"
	recorded(t, b.do(r), relay.CodeMalformed)
}

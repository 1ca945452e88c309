package foreman

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func versioned(more ...string) http.Header {
	h := http.Header{}
	h.Set("Foreman_version", "3.13.0")
	h.Set("Content-Type", "application/json; charset=utf-8")
	for i := 0; i+1 < len(more); i += 2 {
		h.Set(more[i], more[i+1])
	}
	return h
}

func page() http.Header { return http.Header{"Content-Type": {"text/html"}} }

// Each row of the contract's section 3.
func TestClassify(t *testing.T) {
	duplicate := `{"error":{"id":null,"errors":{"reported_at":["has already been taken"]},"full_messages":["Reported at has already been taken"]}}`
	for name, c := range map[string]struct {
		status int
		header http.Header
		body   string
		class  relay.Class
		reason string
		detail string
	}{
		"created":                            {201, versioned(), `{"id":1}`, relay.ClassDelivered, "", ""},
		"ok":                                 {200, versioned(), `{}`, relay.ClassDelivered, "", ""},
		"api version alone":                  {201, http.Header{"Foreman_api_version": {"2"}}, ``, relay.ClassDelivered, "", ""},
		"a page with 200":                    {200, page(), `<html>maintenance`, relay.ClassUnavailable, relay.ReasonNotForeman, ""},
		"JSON with 200 of something else":    {200, http.Header{"Content-Type": {"application/json"}}, `{}`, relay.ClassUnavailable, relay.ReasonNotForeman, ""},
		"a duplicate report":                 {422, versioned(), duplicate, relay.ClassAlready, relay.ReasonAlreadyThere, ""},
		"a duplicate ARF":                    {422, versioned(), `{"result":"fail","errors":"Reported at has already been taken"}`, relay.ClassAlready, relay.ReasonAlreadyThere, ""},
		"a duplicate and more":               {422, versioned(), `{"error":{"errors":{"reported_at":["has already been taken"],"host":["is invalid"]},"full_messages":["Host is invalid"]}}`, relay.ClassRejected, relay.ReasonRejected, "Host is invalid"},
		"not a report":                       {422, versioned(), `{"message":"ERF42-2399 [Foreman::Exception]: Invalid report"}`, relay.ClassRejected, relay.ReasonRejected, "ERF42-2399 [Foreman::Exception]: Invalid report"},
		"a host in build mode":               {422, versioned(), `{"message":"ERF42-9911 [Foreman::Exception]: Host is pending for Build"}`, relay.ClassNotReady, relay.ReasonNotReady, "pending for Build"},
		"an invalid name":                    {422, versioned(), `{"message":"Invalid Hostname, must be a String"}`, relay.ClassRejected, relay.ReasonRejected, "must be a String"},
		"a wrong type":                       {415, versioned(), `{"error":{"message":"Media type"}}`, relay.ClassRejected, relay.ReasonRejected, "Media type"},
		"malformed JSON, before the headers": {400, http.Header{"Content-Type": {"application/json"}}, `{"status":400,"error":"There was a problem in the JSON you submitted: x"}`, relay.ClassRejected, relay.ReasonRejected, "There was a problem"},
		"not found by Foreman":               {404, versioned(), `{"error":{"message":"Not found"}}`, relay.ClassRejected, relay.ReasonRejected, "Not found"},
		"not found by something else":        {404, page(), `<html>no`, relay.ClassUnavailable, relay.ReasonNotForeman, "<html>no"},
		"a redirect to a login":              {302, page(), ``, relay.ClassUnavailable, relay.ReasonNotForeman, ""},
		"poison":                             {500, versioned(), `{"error":{"message":"Internal Server Error"}}`, relay.ClassTransient, relay.ReasonServerError, "Internal"},
		"a crash of something":               {500, page(), `<html>`, relay.ClassTransient, relay.ReasonServerError, "<html>"},
		"forbidden":                          {403, versioned(), `{"error":{"message":"Access denied"}}`, relay.ClassDenied, relay.ReasonUnauthorized, "Access denied"},
		"unauthorized":                       {401, page(), ``, relay.ClassDenied, relay.ReasonUnauthorized, ""},
		"too large for Apache":               {413, page(), `<html>`, relay.ClassRejected, relay.ReasonTooLarge, ""},
		"migrations":                         {503, http.Header{"Content-Type": {"application/json"}}, `{"message":"pending migrations"}`, relay.ClassUnavailable, relay.ReasonUnavailable, "pending migrations"},
		"Apache without puma":                {503, page(), `<html>`, relay.ClassUnavailable, relay.ReasonUnavailable, ""},
		"a dropped connection to puma":       {502, page(), `<html>`, relay.ClassUnavailable, relay.ReasonUnavailable, ""},
		"a slow puma":                        {504, page(), `<html>`, relay.ClassUnavailable, relay.ReasonUnavailable, ""},
		"throttled":                          {429, versioned("Retry-After", "30"), ``, relay.ClassTransient, relay.ReasonThrottled, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := Classify("facts", relay.Answer{Status: c.status, Header: c.header, Body: []byte(c.body)}, now)
			require.Equal(t, []any{c.class, c.reason, c.status}, []any{r.Class, r.Reason, r.Status})
			require.Contains(t, r.Detail, c.detail)
			if r.Class == relay.ClassUnavailable {
				require.Equal(t, relay.ClassTransient, r.Confirmed, "an answered probe makes it an attempt")
			}
		})
	}
}

// Every status, from Foreman and from something else: none is left without a
// verdict, only a 2xx of Foreman is a delivery, and none but a refusal that is
// Foreman's own ends a message.
func TestEveryStatusHasAVerdict(t *testing.T) {
	for status := 100; status <= 599; status++ {
		ours := Classify("report", relay.Answer{Status: status, Header: versioned("Retry-After", "7"), Body: []byte(`{"message":"m"}`)}, now)
		other := Classify("report", relay.Answer{Status: status, Header: page(), Body: []byte("<html>")}, now)
		require.NotEmpty(t, ours.Class, status)
		require.Equal(t, status >= 200 && status <= 299, ours.Class == relay.ClassDelivered, status)
		require.NotEqual(t, relay.ClassDelivered, other.Class, status)
		want := relay.ClassTransient
		switch {
		case status >= 200 && status <= 299:
			want = relay.ClassDelivered
		case status == 401, status == 403:
			want = relay.ClassDenied
			require.Positive(t, ours.Hold, status)
		case status == 408, status == 425, status == 429:
		case status == 502, status == 503, status == 504:
			want = relay.ClassUnavailable
		case status >= 300 && status <= 499:
			want = relay.ClassRejected
		}
		require.Equal(t, want, ours.Class, status)
		if want == relay.ClassRejected && status != 413 {
			require.Equal(t, relay.ClassUnavailable, other.Class, "%d of something else ends no message", status)
		}
		require.Equal(t, 7*time.Second, ours.RetryAfter, status)
	}
	require.GreaterOrEqual(t, Classify("report", relay.Answer{Status: 401}, now).Hold, 5*time.Minute, "Foreman counts failed logins in 5 minutes")
}

func TestErrorsAreClassified(t *testing.T) {
	for name, c := range map[string]struct {
		answer    relay.Answer
		class     relay.Class
		reason    string
		ambiguous bool
	}{
		"refused":                        {relay.Answer{Err: &net.OpError{Op: "dial", Err: errors.New("connection refused")}}, relay.ClassUnavailable, relay.ReasonUnavailable, false},
		"reset after sending":            {relay.Answer{Err: errors.New("connection reset by peer"), Sent: true}, relay.ClassUnavailable, relay.ReasonUnavailable, true},
		"no answer in time":              {relay.Answer{Err: context.DeadlineExceeded, Sent: true}, relay.ClassUnavailable, relay.ReasonTimeout, true},
		"no such name":                   {relay.Answer{Err: &net.DNSError{Name: "foreman.example.com", Err: "no such host"}}, relay.ClassUnavailable, relay.ReasonUnavailable, false},
		"our certificate is not trusted": {relay.Answer{Err: &net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}}, relay.ClassDenied, relay.ReasonUnauthorized, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := Classify("report", c.answer, now)
			require.Equal(t, []any{c.class, c.reason, c.ambiguous}, []any{r.Class, r.Reason, r.Ambiguous})
			require.NotEmpty(t, r.Detail)
		})
	}
	require.LessOrEqual(t, len(Classify("report", relay.Answer{Status: 500, Header: page(), Body: []byte(strings.Repeat("ä", 60_000))}, now).Detail), relay.MaxDetail+8)
}

func TestOneReportHasOneKey(t *testing.T) {
	route := Routes(relay.DefaultPolicy())[0]
	key := func(host, at string) string {
		k, ok := route.Key.Derive(relay.Request{Doc: map[string]any{"config_report": map[string]any{"host": host, "reported_at": at}}})
		require.True(t, ok)
		return k
	}
	puppet := key("Web.Example.com", "2026-11-23 16:13:06 UTC")
	for _, at := range []string{"2026-11-23 16:13:06+00:00", "2026-11-23T16:13:06Z", "2026-11-23 17:13:06 +01:00", "2026-11-23 16:13:06", " 2026-11-23T16:13:06.000+00:00"} {
		require.Equal(t, puppet, key("web.example.com ", at), at)
	}
	require.NotEqual(t, puppet, key("web.example.com", "2026-11-23 16:13:07 UTC"))
	require.NotEqual(t, puppet, key("web.example.com", "2026-11-23T16:13:06.9Z"), "a fraction tells two reports apart")
	require.NotEqual(t, puppet, key("web2.example.com", "2026-11-23 16:13:06 UTC"))
	require.NotEqual(t, key("a", "yesterday at 7"), key("a", "yesterday at 8"), "unknown spellings are kept")
	_, ok := Routes(relay.DefaultPolicy())[1].Key.Derive(relay.Request{Doc: map[string]any{"name": "a"}})
	require.False(t, ok, "of facts A, B, A the last must win")
}

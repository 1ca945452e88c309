package foreman

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// What a status means for one route and not for another; docs/destinations.md
// has the same table in words.
func TestVerdictsByRoute(t *testing.T) {
	const (
		delivered, already, rejected = relay.ClassDelivered, relay.ClassAlready, relay.ClassRejected
		later, transient, nobody     = relay.ClassNotReady, relay.ClassTransient, relay.ClassUnavailable
	)
	plainText, bare := http.Header{"Content-Type": {"text/plain"}}, http.Header{}
	arf := func(why string) string { return `{"result":"fail","errors":"` + why + `"}` }
	for _, c := range []struct {
		route  string
		status int
		header http.Header
		body   string
		want   relay.Class
	}{
		{"salt", 200, versioned(), `{"task_id":"x"}`, delivered},
		{"salt", 200, page(), `<html>`, nobody},
		{"salt", 422, versioned(), `{"message":"Unsupported function"}`, rejected},
		{"callback", 200, versioned(), `{"message":"processing"}`, delivered},
		{"callback", 404, versioned(), `{"error":{"message":"not found"}}`, rejected},
		{"hostreport", 201, versioned(), `{}`, delivered},
		{"hostreport", 422, versioned(), `{"error":{"full_messages":["Host must exist"]}}`, later},
		{"puppet", 422, versioned(), `{"message":"PG::ConnectionBad"}`, later},
		{"ansible", 422, versioned(), ``, later},
		{"report", 422, versioned(), `{"message":"ERF42-2399"}`, rejected},
		{"report", 422, versioned(), `{"message":"Host is pending for Build"}`, rejected},
		{"facts", 422, versioned(), `{"message":"ERF42: Host is pending for Build"}`, later},
		{"arf", 200, versioned(), `{"result":"ok","id":"7"}`, delivered},
		{"arf", 422, versioned(), arf("Reported at has already been taken"), already},
		{"arf", 422, versioned(), arf("Policy with id 7 not found."), later},
		{"arfreport", 422, versioned(), arf("Could not find host identified by: x"), later},
		{"arfreport", 422, versioned(), arf("No proxy found for x"), later},
		{"arf", 422, versioned(), arf("Digest is invalid"), rejected},
		{"built", 201, bare, ``, delivered},
		{"built", 201, plainText, ``, delivered},
		{"built", 201, page(), `<html>`, nobody},
		{"built", 200, page(), `<html>`, nobody},
		{"built", 200, bare, ``, nobody},
		{"built", 204, bare, ``, nobody},
		{"built", 302, bare, ``, nobody},
		{"built", 405, bare, ``, already},
		{"built", 405, page(), `<html>405 Not Allowed`, nobody},
		{"built", 409, bare, ``, transient},
		{"failed", 404, plainText, `unable to find a host`, rejected},
		{"failed", 404, page(), `<html>`, nobody},
		{"failed", 413, page(), `<html>`, rejected},
		{"failed", 403, page(), `<html>`, relay.ClassDenied},
		{"built", 500, page(), `<html>`, transient},
		{"built", 503, page(), `<html>`, nobody},
		{"message", 405, versioned(), `{}`, rejected},
	} {
		r := Classify(c.route, relay.Answer{Status: c.status, Header: c.header, Body: []byte(c.body)}, now)
		require.Equal(t, c.want, r.Class, "%s: %d %s", c.route, c.status, c.body)
		if c.want == nobody {
			require.Equal(t, transient, r.Confirmed, "%s: %d", c.route, c.status)
		}
	}
}

// Every verdict and every conversion is of a route that there is.
func TestVerdictsAreOfRoutes(t *testing.T) {
	names := map[string]bool{}
	for _, r := range Routes(relay.DefaultPolicy()) {
		names[r.Name] = true
	}
	for name := range verdicts {
		require.True(t, names[name], name)
	}
	for name := range conversions {
		require.True(t, names[name], name)
	}
}

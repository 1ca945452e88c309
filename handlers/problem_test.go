package handlers_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// codes is the table of statuses as clients know it.
var codes = map[relay.Code]int{
	relay.CodeMalformed: 400, relay.CodeInvalid: 422, relay.CodeKeyConflict: 422, relay.CodeInFlight: 409, relay.CodeTooLarge: 413,
	relay.CodeUnsupportedMediaType: 415, relay.CodeNotFound: 404, relay.CodeMethodNotAllowed: 405, relay.CodeDenied: 403, relay.CodeUnauthenticated: 401,
	relay.CodeTooManyRequests: 429, relay.CodeTimeout: 408, relay.CodeConflict: 409, relay.CodeUnavailable: 503, relay.CodeAway: 503,
	relay.CodeStorageFull: 507, relay.CodeQuotaFull: 507, relay.CodeInternal: 500,
}

// TestCodes: each refusal of the intake reaches the sender with its status.
func TestCodes(t *testing.T) {
	for code, status := range codes {
		t.Run(string(code), func(t *testing.T) {
			b := newEdge(t, nil)
			b.intake.answer = func(*relay.Message) (relay.Receipt, error) {
				return relay.Receipt{}, &relay.Error{Code: code, Detail: "inner words", RetryAfter: 1500 * time.Millisecond,
					Err: errors.New("inner secret")}
			}
			w := b.do(post(reportPath, report))
			require.Equal(t, status, w.Code)
			p := recorded(t, w, code)
			require.Equal(t, "2", w.Header().Get("Retry-After"))
			require.NotContains(t, w.Body.String(), "inner secret")
			if code != relay.CodeInternal {
				require.Equal(t, "inner words", p.Detail)
			}
		})
	}
}

// TestUnavailable: the sender learns that the outcome is unknown, and what to do.
func TestUnavailable(t *testing.T) {
	b := newEdge(t, nil)
	b.intake.answer = func(*relay.Message) (relay.Receipt, error) {
		return relay.Receipt{}, relay.Refuse(relay.CodeUnavailable, "the broker is away")
	}
	p := recorded(t, b.do(post(reportPath, report)), relay.CodeUnavailable)
	require.Contains(t, p.Title, "outcome is unknown")
	require.Contains(t, p.Title, "same key is safe to send again")
}

// TestInternal: what went wrong inside is in the log, once, and nowhere else.
func TestInternal(t *testing.T) {
	for name, failure := range map[string]func() (relay.Receipt, error){
		"plain error": func() (relay.Receipt, error) { return relay.Receipt{}, errors.New("secret /var/lib/x") },
		"with the code": func() (relay.Receipt, error) {
			return relay.Receipt{}, relay.Refuse(relay.CodeInternal, "secret %s", "x")
		},
		"unknown code": func() (relay.Receipt, error) { return relay.Receipt{}, relay.Refuse("novel", "secret") },
		"panic":        func() (relay.Receipt, error) { panic("secret") },
		"wrapped": func() (relay.Receipt, error) {
			return relay.Receipt{}, &relay.Error{Code: "", Err: errors.New("secret")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newEdge(t, nil)
			b.intake.answer = func(*relay.Message) (relay.Receipt, error) { return failure() }
			w := b.do(post(reportPath, report, "X-Request-Id", "find-me"))
			require.Equal(t, http.StatusInternalServerError, w.Code)
			recorded(t, w, relay.CodeInternal)
			require.NotContains(t, w.Body.String(), "secret")

			told := 0
			for _, line := range strings.Split(strings.TrimSpace(b.log.String()), "\n") {
				if strings.Contains(line, "secret") {
					told++
					require.Contains(t, line, "find-me")
				}
			}
			require.Equal(t, 1, told, b.log)
			require.Len(t, b.log.lines(t, "request"), 1, "the access log has it too")
			require.EqualValues(t, 500, b.log.lines(t, "request")[0]["status"])
			if name == "panic" {
				require.Contains(t, b.log.String(), "problem_test.go", "the stack tells where")
			}
		})
	}
}

// TestRefuse: a relay that stops sends new requests away and stays alive.
func TestRefuse(t *testing.T) {
	b := newEdge(t, nil)
	b.Refuse()
	w := b.do(post(reportPath, report))
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	recorded(t, w, relay.CodeUnavailable)
	require.Equal(t, "close", w.Header().Get("Connection"))
	require.NotEmpty(t, w.Header().Get("Retry-After"))
	require.Empty(t, b.intake.accepted())
	require.Equal(t, http.StatusServiceUnavailable, b.do(httptest.NewRequest(http.MethodGet, "/readyz", nil)).Code)
	require.Equal(t, http.StatusOK, b.do(httptest.NewRequest(http.MethodGet, "/livez", nil)).Code)
}

package handlers_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

func get(h http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

// scrape is what a monitoring system reads, with these queues.
func scrape(t *testing.T, registry *prometheus.Registry) string {
	t.Helper()
	w := get(handlers.NewAdmin(handlers.AdminOptions{Operator: newOperator(), Intake: &intake{}, Registry: registry, Log: zerolog.Nop()}), "/metrics")
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	return w.Body.String()
}

// TestFamiliesFromTheStart: a dashboard needs no first request.
func TestFamiliesFromTheStart(t *testing.T) {
	b := newEdge(t, func(o *handlers.EdgeOptions) { o.Organization = "ACME" })
	b.registry.MustRegister(handlers.NewQueueCollector(newOperator(), zerolog.Nop()))
	text := scrape(t, b.registry)
	for _, line := range []string{
		`foreman_relay_http_requests_total{code="201",route="report"} 0`,
		`foreman_relay_http_request_duration_seconds_count{route="facts"} 0`,
		`foreman_relay_http_request_duration_seconds_count{route="message"} 0`,
		`foreman_relay_accepted_total{destination="foreman",organization="ACME",route="report"} 0`,
		`foreman_relay_replayed_total 0`,
		`foreman_relay_http_in_flight 0`,
		`foreman_relay_refused_total{code="storage-full"} 0`,
		`foreman_relay_queue_messages{destination="foreman",organization="default",state="pending"} 3`,
		`foreman_relay_queue_messages{destination="foreman",organization="default",state="duplicate"} 0`,
		`foreman_relay_queue_oldest_age_seconds{destination="foreman",organization="default"} 1.25`,
		`foreman_relay_queue_bytes{destination="foreman",organization="default"} 4096`,
		`foreman_relay_breaker_state{destination="foreman",organization="default",state="half-open"} 1`,
		`foreman_relay_breaker_state{destination="foreman",organization="default",state="closed"} 0`,
		`foreman_relay_queue_paused{destination="foreman",organization="default"} 0`,
		`foreman_relay_retries_held{destination="foreman",organization="default"} 2`,
	} {
		require.Contains(t, text, line+"\n")
	}
	require.Contains(t, text, "accepted is their sum but for waiting, delivering and scheduled, which are part of pending.\n")
	require.NotContains(t, text, `accepted_total{destination="foreman",organization="default"`)
}

// TestCounting: each request once, under its route and status.
func TestCounting(t *testing.T) {
	b := newEdge(t, nil)
	b.do(post(reportPath, report))
	b.do(post(reportPath, "{"))
	b.do(post("/wp-login.php", ""))
	b.do(post(queuePath, "x"))
	b.intake.answer = func(m *relay.Message) (relay.Receipt, error) { r := receiptOf(m); r.Replayed = true; return r, nil }
	b.do(post(reportPath, report))
	b.intake.answer = func(*relay.Message) (relay.Receipt, error) { panic("no") }
	b.do(post(factsPath, facts))

	text := scrape(t, b.registry)
	for _, line := range []string{
		`foreman_relay_http_requests_total{code="201",route="report"} 2`,
		`foreman_relay_http_requests_total{code="400",route="report"} 1`,
		`foreman_relay_http_requests_total{code="404",route="none"} 1`,
		`foreman_relay_http_requests_total{code="202",route="message"} 1`,
		`foreman_relay_http_requests_total{code="500",route="facts"} 1`,
		`foreman_relay_http_request_duration_seconds_count{route="report"} 3`,
		`foreman_relay_accepted_total{destination="foreman",organization="default",route="report"} 1`,
		`foreman_relay_accepted_total{destination="foreman",organization="default",route="message"} 1`,
		`foreman_relay_replayed_total 1`,
		`foreman_relay_refused_total{code="malformed"} 1`,
		`foreman_relay_refused_total{code="not-found"} 1`,
		`foreman_relay_refused_total{code="internal"} 1`,
		`foreman_relay_http_in_flight 0`,
	} {
		require.Contains(t, text, line+"\n")
	}
	require.NotContains(t, text, "wp-login")
}

// TestScrapeWithoutQueues: when the broker is away the other metrics are still
// there, because then they matter.
func TestScrapeWithoutQueues(t *testing.T) {
	b := newEdge(t, nil)
	o := newOperator()
	o.fail = relay.Refuse(relay.CodeUnavailable, "the broker is away")
	b.registry.MustRegister(handlers.NewQueueCollector(o, zerolog.Nop()))
	text := scrape(t, b.registry)
	require.Contains(t, text, "foreman_relay_replayed_total 0\n")
	require.NotContains(t, text, "foreman_relay_queue_messages{")
}

// TestAccessLog: one line a request, with nothing of the host's.
func TestAccessLog(t *testing.T) {
	b := newEdge(t, nil)
	w := b.do(post(reportPath+"?token=hush", report, "Idempotency-Key", "secret-key", "Authorization", "Basic hush"))
	lines := b.log.lines(t, "request")
	require.Len(t, lines, 1)
	require.Equal(t, "info", lines[0]["level"])
	require.Equal(t, "POST", lines[0]["method"])
	require.Equal(t, "report", lines[0]["route"])
	require.EqualValues(t, http.StatusCreated, lines[0]["status"])
	require.EqualValues(t, len(report), lines[0]["bytes"])
	require.Equal(t, w.Header().Get("Relay-Message-Id"), lines[0]["id"])
	require.Equal(t, w.Header().Get("X-Request-Id"), lines[0]["request_id"])
	require.NotEmpty(t, lines[0]["remote"])
	require.Contains(t, lines[0], "took")
	for _, secret := range []string{"secret-key", "hush", "Web01", "config_report"} {
		require.NotContains(t, strings.ToLower(b.log.String()), strings.ToLower(secret))
	}

	quiet := zerolog.Disabled
	b = newEdge(t, func(o *handlers.EdgeOptions) { o.AccessLevel = &quiet })
	b.do(post(reportPath, report))
	require.Empty(t, b.log.String())
}

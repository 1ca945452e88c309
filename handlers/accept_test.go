package handlers_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// TestReport: what the intake gets of a Puppet report, and what Puppet gets.
func TestReport(t *testing.T) {
	b := newEdge(t, nil)
	w := b.do(post(reportPath+"?dry=1", report, "Accept", "*/*", "Accept", "application/json,version=2", "X-Request-Id", "run-7"))
	require.Equal(t, http.StatusCreated, w.Code, w.Body)

	m := b.intake.one(t)
	require.Equal(t, queue, m.Queue)
	require.Equal(t, "report", m.Route)
	require.Equal(t, "web01.example.com", m.Lane)
	require.Equal(t, "config_report\x1fweb01.example.com\x1f2026-11-23T11:59:00Z", m.Key)
	require.Equal(t, relay.KeyedID(queue, m.Key), m.ID)
	require.Equal(t, http.MethodPost, m.Method)
	require.Equal(t, reportPath+"?dry=1", m.Path)
	require.Equal(t, "application/json", m.ContentType)
	require.Equal(t, "*/*, application/json,version=2", m.Accept)
	require.Equal(t, "run-7", m.RequestID)
	require.Equal(t, noon, m.Received)
	require.Equal(t, relay.DigestOf([]byte(report)), m.Digest)
	require.Equal(t, report, string(m.Body))
	require.Empty(t, m.ContentEncoding)

	require.Equal(t, "/relay/v1/messages/"+m.ID, w.Header().Get("Location"))
	require.Equal(t, m.ID, w.Header().Get("Relay-Message-Id"))
	require.Equal(t, "run-7", w.Header().Get("X-Request-Id"))
	require.Empty(t, w.Header().Values("Idempotent-Replayed"))
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	var got relay.Receipt
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
	require.Equal(t, receiptOf(m), got)
}

// TestFacts have no key: of A, B, A the last one must be delivered.
func TestFacts(t *testing.T) {
	b := newEdge(t, nil)
	for range 2 {
		w := b.do(retype(post("/api/hosts/facts", facts), "application/json; charset=utf-8"))
		require.Equal(t, http.StatusAccepted, w.Code, w.Body)
		require.NotEmpty(t, w.Header().Get("X-Request-Id"))
	}
	all := b.intake.accepted()
	require.Len(t, all, 2)
	require.NotEqual(t, all[0].ID, all[1].ID)
	require.Empty(t, all[0].Key)
	require.Equal(t, "web01.example.com", all[0].Lane)
	token, _, ok := relay.ParseID(all[0].ID)
	require.True(t, ok)
	require.Equal(t, queue.Token(), token)
}

// Foreman keeps facts by type: those of one type are not newer ones of another.
func TestFactsOfEachTypeAreTheirOwn(t *testing.T) {
	for body, want := range map[string]string{
		facts: "",
		`{"name":"a","facts":{"_type":"ansible","a":1}}`:  "ansible",
		`{"name":"a","facts":{"a":{"_type":"deeper"}}}`:   "",
		`{"name":"a","facts":{"_type":7},"_type":"x"}`:    "",
		`{"name":"a","facts":{"_type":"x","_type":"y"}}`:  "y",
		`{"name":"a","facts":{"_type":"foreman_salt  "}}`: "foreman_salt  ",
	} {
		b := newEdge(t, nil)
		require.Equal(t, http.StatusAccepted, b.do(post(factsPath, body)).Code)
		require.Equal(t, want, b.intake.one(t).Kind, body)
	}
	b := newEdge(t, nil)
	require.Equal(t, http.StatusCreated, b.do(post(reportPath, report)).Code)
	require.Empty(t, b.intake.one(t).Kind)
}

// TestKeyHeader: the header wins over the derived key.
func TestKeyHeader(t *testing.T) {
	b := newEdge(t, nil)
	b.intake.answer = func(m *relay.Message) (relay.Receipt, error) {
		r := receiptOf(m)
		r.Replayed = true
		return r, nil
	}
	key := strings.Repeat("k", 255)
	w := b.do(post(reportPath, report, "Idempotency-Key", key))
	require.Equal(t, http.StatusCreated, w.Code, w.Body)
	require.Equal(t, "true", w.Header().Get("Idempotent-Replayed"))
	m := b.intake.one(t)
	require.Equal(t, key, m.Key)
	require.Equal(t, relay.KeyedID(queue, key), m.ID)
}

// TestGzip: a route that decodes stores identity, as Foreman reads nothing else;
// a queue keeps what came.
func TestGzip(t *testing.T) {
	gz := gzipped(t, report)
	for _, encoding := range []string{"gzip", "GZIP", "x-gzip"} {
		b := newEdge(t, nil)
		require.Equal(t, http.StatusCreated, b.do(post(reportPath, gz, "Content-Encoding", encoding)).Code)
		m := b.intake.one(t)
		require.Equal(t, report, string(m.Body))
		require.Empty(t, m.ContentEncoding)
		require.Equal(t, relay.DigestOf([]byte(report)), m.Digest)
	}
	for encoding, kept := range map[string]string{"gzip": "gzip", "x-bzip2": "x-bzip2", "identity": ""} {
		b := newEdge(t, nil)
		require.Equal(t, http.StatusAccepted, b.do(post(queuePath, gz, "Content-Encoding", encoding)).Code)
		m := b.intake.one(t)
		require.Equal(t, gz, string(m.Body))
		require.Equal(t, kept, m.ContentEncoding)
	}
}

// TestGeneric: a queue by name takes anything.
func TestGeneric(t *testing.T) {
	b := newEdge(t, nil)
	w := b.do(retype(post(queuePath, "anything", "Relay-Ordering-Key", " Host.Example ", "Idempotency-Key", "k1"), ""))
	require.Equal(t, http.StatusAccepted, w.Code, w.Body)
	m := b.intake.one(t)
	require.Equal(t, "message", m.Route)
	require.Equal(t, "host.example", m.Lane)
	require.Equal(t, "k1", m.Key)
	require.Equal(t, http.MethodPost, m.Method)
	require.Empty(t, m.Path)
	require.Equal(t, "application/octet-stream", m.ContentType)
}

// TestGenericRoute: a message for one of the destination's own requests.
func TestGenericRoute(t *testing.T) {
	b := newEdge(t, nil)
	w := b.do(post(queuePath, report, "Relay-Route", "report"))
	require.Equal(t, http.StatusAccepted, w.Code, w.Body)
	m := b.intake.one(t)
	require.Equal(t, "report", m.Route)
	require.Equal(t, reportPath, m.Path)
	require.Equal(t, "web01.example.com", m.Lane)
	require.NotEmpty(t, m.Key)
}

// TestOrganizationInPath: an organization is percent-decoded once, whatever is
// in it.
func TestOrganizationInPath(t *testing.T) {
	for _, organization := range []string{"ACME%20Inc%2F100%25%20a%2541", "%41CME%20Inc%2F100%25%20a%2541"} {
		b := newEdge(t, nil)
		w := b.do(post("/relay/v1/queues/"+organization+"/hook/messages", "x"))
		require.Equal(t, http.StatusAccepted, w.Code, w.Body)
		require.Equal(t, slashed, b.intake.one(t).Queue)
	}
	for path, organization := range map[string]string{"a%2541": "a%41", "100%25": "100%", "My%20Org": "My Org", "a%2Fb": "a/b"} {
		b := newEdge(t, nil)
		p := recorded(t, b.do(post("/relay/v1/queues/"+path+"/hook/messages", "x")), relay.CodeNotFound)
		require.Contains(t, p.Detail, "no queue "+organization+"/hook;")
	}
}

// TestLongAccept: headers that browsers and libraries send are no reason to
// lose a report.
func TestLongAccept(t *testing.T) {
	b := newEdge(t, nil)
	accept := strings.TrimSuffix(strings.Repeat("application/json;q=0.5, ", 20), ", ")
	require.Equal(t, http.StatusCreated, b.do(post(reportPath, report, "Accept", accept)).Code)
	require.Equal(t, accept, b.intake.one(t).Accept)
}

// TestLargeNumber: a number that no float64 holds is still JSON, and Ruby reads
// it.
func TestLargeNumber(t *testing.T) {
	b := newEdge(t, nil)
	body := `{"name":"a","facts":{"n":1e999,"m":{"o":[1e999]}}}`
	require.Equal(t, http.StatusAccepted, b.do(post(factsPath, body)).Code)
	require.Equal(t, body, string(b.intake.one(t).Body))
}

// TestRequestID: what cannot be printed or is too long is replaced.
func TestRequestID(t *testing.T) {
	for _, given := range []string{"", "a\x7f", strings.Repeat("r", 129)} {
		b := newEdge(t, nil)
		w := b.do(post(factsPath, facts, "X-Request-Id", given))
		require.NotEmpty(t, w.Header().Get("X-Request-Id"))
		require.NotEqual(t, given, w.Header().Get("X-Request-Id"))
		require.Equal(t, w.Header().Get("X-Request-Id"), b.intake.one(t).RequestID)
	}
}

// TestStatus: who knows an id sees how it stands, and nothing of the host.
func TestStatus(t *testing.T) {
	b := newEdge(t, nil)
	id, next := relay.FreshID(queue), noon.Add(time.Minute)
	asked := 0
	b.intake.status = func(id string) (relay.MessageStatus, error) {
		asked++
		return relay.MessageStatus{ID: id, Organization: "default", Destination: "foreman", State: relay.Waiting, Route: "report",
			Lane: "secret-host", Key: "secret-key", AcceptedAt: &noon, Attempts: 2, NextAttempt: &next, Reason: relay.ReasonServerError,
			Events: []relay.EventStatus{{Detail: "secret-detail"}}}, nil
	}
	w := b.do(httptest.NewRequest(http.MethodGet, "/relay/v1/messages/"+id, nil))
	require.Equal(t, http.StatusOK, w.Code)
	require.JSONEq(t, `{"id":"`+id+`","state":"waiting","accepted_at":"2026-11-23T12:00:00Z","attempts":2,
		"next_attempt":"2026-11-23T12:01:00Z","reason":"server_error"}`, w.Body.String())

	for _, malformed := range []string{"x", strings.ToUpper(id), id + "a", "%2e%2e", strings.Repeat("a", 5000)} {
		w := b.do(httptest.NewRequest(http.MethodGet, "/relay/v1/messages/"+malformed, nil))
		require.Equal(t, http.StatusNotFound, w.Code)
		recorded(t, w, relay.CodeNotFound)
	}
	require.Equal(t, 1, asked)
}

// TestHealth: alive is not ready.
func TestHealth(t *testing.T) {
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		b := newEdge(t, nil)
		require.Equal(t, http.StatusOK, b.do(httptest.NewRequest(method, "/livez", nil)).Code)
		require.Equal(t, http.StatusOK, b.do(httptest.NewRequest(method, "/readyz", nil)).Code)

		b.intake.ready = relay.Refuse(relay.CodeUnavailable, "the journal is being read")
		require.Equal(t, http.StatusOK, b.do(httptest.NewRequest(method, "/livez", nil)).Code)
		w := b.do(httptest.NewRequest(method, "/readyz", nil))
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.Contains(t, recorded(t, w, relay.CodeUnavailable).Detail, "the journal is being read")
	}
}

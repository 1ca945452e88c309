package handlers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/foreman"
	"github.com/theforeman/foreman-relay/test/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, harness.Lingering()) }

var (
	queue = relay.Queue{Organization: relay.DefaultOrganization, Destination: relay.ForemanDestination}
	// slashed is a queue of an organization as Foreman titles nested ones.
	slashed = relay.Queue{Organization: "ACME Inc/100% a%41", Destination: "hook"}
	noon    = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
)

// maxBody is small, so that the tests need no large bodies.
const maxBody = 4 << 10

// intake remembers what it was given.
type intake struct {
	mu       sync.Mutex
	messages []*relay.Message
	answer   func(m *relay.Message) (relay.Receipt, error) // nil: a receipt
	status   func(id string) (relay.MessageStatus, error)
	ready    error
}

func (i *intake) Accept(_ context.Context, m *relay.Message) (relay.Receipt, error) {
	i.mu.Lock()
	i.messages = append(i.messages, m)
	i.mu.Unlock()
	if i.answer != nil {
		return i.answer(m)
	}
	return receiptOf(m), nil
}

func receiptOf(m *relay.Message) relay.Receipt {
	return relay.Receipt{ID: m.ID, State: relay.Accepted, Queue: m.Queue, Durability: "fsync-barrier",
		AcceptedAt: m.Received, Location: "/relay/v1/messages/" + m.ID}
}

// Again knows what it was given with this id before.
func (i *intake) Again(_ context.Context, m *relay.Message) (relay.Receipt, error) {
	for _, first := range i.accepted() {
		if first.ID == m.ID {
			r := receiptOf(first)
			r.Replayed = true
			return r, nil
		}
	}
	return relay.Receipt{}, relay.Refuse(relay.CodeNotFound, "there is no message %q", m.ID)
}

func (i *intake) Message(_ context.Context, id string) (relay.MessageStatus, error) {
	if i.status == nil {
		return relay.MessageStatus{}, relay.Refuse(relay.CodeNotFound, "there is no message %q", id)
	}
	return i.status(id)
}

func (i *intake) Ready(context.Context) error { return i.ready }

func (i *intake) accepted() []*relay.Message {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]*relay.Message(nil), i.messages...)
}

// one is the only message that was accepted.
func (i *intake) one(t *testing.T) *relay.Message {
	t.Helper()
	all := i.accepted()
	require.Len(t, all, 1)
	return all[0]
}

// bench is an edge with everything around it.
type bench struct {
	*handlers.Edge
	intake   *intake
	registry *prometheus.Registry
	log      *lockedBuffer
}

func newEdge(t testing.TB, change func(*handlers.EdgeOptions)) *bench {
	t.Helper()
	b := &bench{intake: &intake{}, registry: prometheus.NewRegistry(), log: &lockedBuffer{}}
	routes := foreman.Routes(relay.DefaultPolicy())
	o := handlers.EdgeOptions{Intake: b.intake, Known: func(q relay.Queue) bool { return q == queue || q == slashed },
		Organization: queue.Organization, Routes: routes, MaxBody: maxBody, Now: func() time.Time { return noon },
		Metrics: handlers.NewMetrics(b.registry, routes), Log: zerolog.New(b.log)}
	if change != nil {
		change(&o)
	}
	b.Edge = handlers.NewEdge(o)
	return b
}

// do answers a request without a network.
func (b *bench) do(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// lines are the log's entries with this message.
func (b *lockedBuffer) lines(t *testing.T, message string) []map[string]any {
	t.Helper()
	var found []map[string]any
	decoder := json.NewDecoder(bytes.NewReader([]byte(b.String())))
	for decoder.More() {
		var line map[string]any
		require.NoError(t, decoder.Decode(&line))
		if line["message"] == message {
			found = append(found, line)
		}
	}
	return found
}

const (
	reportPath = "/api/config_reports"
	report     = `{"config_report":{"host":"Web01.Example.COM","reported_at":"2026-11-23 11:59:00 UTC","status":{},"logs":[]}}`
	factsPath  = "/api/v2/hosts/facts"
	facts      = `{"name":"web01.example.com","facts":{"a":1}}`
	queuePath  = "/relay/v1/queues/default/foreman/messages"
)

// post is a request with a JSON body; headers come in pairs.
func post(path, body string, headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader([]byte(body)))
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

// problem checks that an answer is the problem of this code and returns it.
func problem(t *testing.T, status int, header http.Header, body []byte, code relay.Code) handlers.Problem {
	t.Helper()
	var p handlers.Problem
	require.Equal(t, "application/problem+json", header.Get("Content-Type"), "%s", body)
	require.NoError(t, json.Unmarshal(body, &p))
	require.Equal(t, "urn:foreman-relay:problem:"+string(code), p.Type, p.Detail)
	require.Equal(t, status, p.Status)
	require.NotEmpty(t, p.Title)
	require.NotEmpty(t, p.Detail)
	require.Equal(t, header.Get("X-Request-Id"), p.Instance)
	require.NotEmpty(t, p.Instance)
	return p
}

func recorded(t *testing.T, w *httptest.ResponseRecorder, code relay.Code) handlers.Problem {
	t.Helper()
	return problem(t, w.Code, w.Header(), w.Body.Bytes(), code)
}

package handlers_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

const arfPath = "/api/v2/compliance/arf_reports/Web01.example.com/5/1700000000"

// enqueuer is a client of an admin socket that enqueues with an edge.
func enqueuer(t *testing.T) (*handlers.Client, *bench) {
	b := newEdge(t, nil)
	return dialAdmin(t, admin(t, newOperator(), func(o *handlers.AdminOptions) { o.Edge = b.Edge })), b
}

// TestEnqueue: the same as the edge makes of the same message.
func TestEnqueue(t *testing.T) {
	for name, c := range map[string]struct {
		edge  *http.Request
		local relay.Submission
	}{
		"anything": {retype(post(queuePath, "\x00any", "Idempotency-Key", "k 1", "Relay-Ordering-Key", " Host.Example "), ""),
			relay.Submission{Queue: queue, Key: "k 1", OrderingKey: " Host.Example ", Body: []byte("\x00any")}},
		"a queue with a slash": {retype(post("/relay/v1/queues/ACME%20Inc%2F100%25%20a%2541/hook/messages", "x", "Content-Encoding", "x-bzip2"), "text/xml"),
			relay.Submission{Queue: slashed, ContentType: "text/xml", ContentEncoding: "x-bzip2", Body: []byte("x")}},
		"a route": {post(queuePath, report, "Relay-Route", "report"),
			relay.Submission{Queue: queue, Route: "report", ContentType: "application/json", Body: []byte(report)}},
		"times and priority": {post(queuePath, "{}", "Relay-Not-Before", "90s", "Relay-Expires", "2026-11-23T13:00:00Z", "Relay-Priority", "urgent"),
			relay.Submission{Queue: queue, ContentType: "application/json", NotBefore: "90s", Expires: "2026-11-23T13:00:00Z", Priority: "urgent", Body: []byte("{}")}},
		"a route in gzip": {post(queuePath, gzipped(t, facts), "Relay-Route", "facts", "Content-Encoding", "gzip"),
			relay.Submission{Queue: queue, Route: "facts", ContentType: "application/json", ContentEncoding: "gzip", Body: []byte(gzipped(t, facts))}},
	} {
		t.Run(name, func(t *testing.T) {
			client, local := enqueuer(t)
			receipt, err := client.Enqueue(t.Context(), c.local)
			require.NoError(t, err)
			edge := newEdge(t, nil)
			require.Equal(t, http.StatusAccepted, edge.do(c.edge).Code)
			want, got := edge.intake.one(t), local.intake.one(t)
			require.Equal(t, receiptOf(got), receipt)
			want.Accept, got.Accept = "", ""
			want.RequestID, got.RequestID = "", ""
			if want.Key == "" {
				want.ID, got.ID = "", "" // a fresh one each
			}
			require.Equal(t, want, got)
		})
	}
}

// TestEnqueueForAPath: an operator may say for which path, and so for which host
// of a route that is told by its path; lane and key are those of the edge.
func TestEnqueueForAPath(t *testing.T) {
	client, b := enqueuer(t)
	arf := relay.Submission{Queue: queue, Route: "arf", Path: arfPath, ContentType: "text/xml", ContentEncoding: "x-bzip2", Body: []byte("BZh91AY")}
	_, err := client.Enqueue(t.Context(), arf)
	require.NoError(t, err)
	m := b.intake.one(t)
	require.Equal(t, []string{"arf", arfPath, "web01.example.com", "x-bzip2", "text/xml"}, []string{m.Route, m.Path, m.Lane, m.ContentEncoding, m.ContentType})
	require.Equal(t, "arf\x1fWeb01.example.com\x1f5\x1f"+relay.DigestOf(arf.Body), m.Key)
	require.Equal(t, relay.KeyedID(queue, m.Key), m.ID)

	_, err = client.Enqueue(t.Context(), relay.Submission{Queue: queue, Path: "/hook/1?a=b%20c", Body: []byte("x")})
	require.NoError(t, err)
	require.Equal(t, "/hook/1?a=b%20c", b.intake.accepted()[1].Path)

	_, err = client.Enqueue(t.Context(), relay.Submission{Queue: queue, Route: "facts", Path: factsPath, ContentType: "application/json", Body: []byte(facts)})
	require.NoError(t, err)
	require.Equal(t, factsPath, b.intake.accepted()[2].Path)
}

// TestEnqueueRefused: with the edge's code, and never stored.
func TestEnqueueRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*relay.Submission)
		code   relay.Code
		says   string
	}{
		"no such queue":     {func(s *relay.Submission) { s.Queue.Organization = "nobody" }, relay.CodeNotFound, "no queue nobody/foreman"},
		"no such route":     {func(s *relay.Submission) { s.Route = "nothing" }, relay.CodeInvalid, "no route"},
		"too large":         {func(s *relay.Submission) { s.Body = []byte(strings.Repeat("x", maxBody+1)) }, relay.CodeTooLarge, "4096 bytes"},
		"a schema":          {func(s *relay.Submission) { s.Body = []byte("{}") }, relay.CodeInvalid, "/facts"},
		"another type":      {func(s *relay.Submission) { s.ContentType = "text/xml" }, relay.CodeUnsupportedMediaType, "application/json"},
		"a line break":      {func(s *relay.Submission) { s.Key = "a\nb" }, relay.CodeMalformed, "Idempotency-Key"},
		"a long key":        {func(s *relay.Submission) { s.Key = strings.Repeat("k", 256) }, relay.CodeMalformed, "255"},
		"two ordering keys": {func(s *relay.Submission) { s.OrderingKey = "web02" }, relay.CodeInvalid, "by itself"},
		"another's path":    {func(s *relay.Submission) { s.Path = arfPath }, relay.CodeInvalid, "route facts delivers to /api/hosts/facts or /api/v2/hosts/facts"},
		"no path":           {func(s *relay.Submission) { s.Route, s.Path = "arf", "" }, relay.CodeInvalid, "needs more of a request"},
		"half a path":       {func(s *relay.Submission) { s.Route, s.Path = "arf", "/compliance/arf/5" }, relay.CodeInvalid, "arf_reports/:cname/:policy/:date"},
		"an address":        {func(s *relay.Submission) { s.Route, s.Path = "built", "/unattended/built?token=t" }, relay.CodeInvalid, "sender's address"},
		"another machine":   {func(s *relay.Submission) { s.Route, s.Path = "", "//evil.example.com/x" }, relay.CodeMalformed, "one slash"},
		"out of the path":   {func(s *relay.Submission) { s.Route, s.Path = "", "/a/%2e%2e/b" }, relay.CodeMalformed, "dots"},
		"a space":           {func(s *relay.Submission) { s.Route, s.Path = "", "/ä" }, relay.CodeMalformed, "Relay-Path"},
	} {
		t.Run(name, func(t *testing.T) {
			client, b := enqueuer(t)
			s := relay.Submission{Queue: queue, Route: "facts", ContentType: "application/json", Body: []byte(facts)}
			c.change(&s)
			_, err := client.Enqueue(t.Context(), s)
			require.Equal(t, c.code, relay.CodeOf(err), "%v", err)
			require.ErrorContains(t, err, c.says)
			require.Empty(t, b.intake.accepted())
		})
	}
}

// TestPathIsForOperators: on the edge nobody may choose one.
func TestPathIsForOperators(t *testing.T) {
	for _, route := range []string{"", "facts", "arf"} {
		b := newEdge(t, nil)
		r := post(queuePath, facts, "Relay-Path", factsPath)
		if route != "" {
			r.Header.Set("Relay-Route", route)
		}
		recorded(t, b.do(r), relay.CodeDenied)
		require.Empty(t, b.intake.accepted())
	}
}

// TestEnqueueAtTheEnd: while the relay stops, nothing is taken here either.
func TestEnqueueAtTheEnd(t *testing.T) {
	client, b := enqueuer(t)
	b.Refuse()
	_, err := client.Enqueue(t.Context(), relay.Submission{Queue: queue, Body: []byte("x")})
	require.Equal(t, relay.CodeUnavailable, relay.CodeOf(err))
	require.ErrorContains(t, err, "stopping")
	require.Empty(t, b.intake.accepted())
}

// TestEnqueueErrors cross the socket as the intake gave them.
func TestEnqueueErrors(t *testing.T) {
	client, b := enqueuer(t)
	b.intake.answer = func(*relay.Message) (relay.Receipt, error) {
		return relay.Receipt{}, &relay.Error{Code: relay.CodeStorageFull, Detail: "it is full", RetryAfter: 60e9}
	}
	_, err := client.Enqueue(t.Context(), relay.Submission{Queue: queue, Body: []byte("x")})
	require.Equal(t, outcome(&relay.Error{Code: relay.CodeStorageFull, Detail: "it is full", RetryAfter: 60e9}), outcome(err))
}

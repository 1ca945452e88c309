package handlers_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

func gzipped(t testing.TB, plain string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := io.WriteString(w, plain)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.String()
}

// unsized hides the length of a body, as a chunked request does.
func unsized(r *http.Request) *http.Request {
	r.ContentLength, r.TransferEncoding = -1, []string{"chunked"}
	return r
}

// unread fails when it is read: what is refused by its headers is not read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) { u.t.Error("the body was read"); return 0, io.EOF }
func (u unread) Close() error             { return nil }

func unreadable(t *testing.T, r *http.Request) *http.Request {
	r.Body = unread{t}
	return r
}

// TestBadInput: what cannot be kept is refused with a reason, and never stored.
func TestBadInput(t *testing.T) {
	big := strings.Repeat("x", maxBody+1)
	long := strings.Repeat("k", 256)
	gz := gzipped(t, report)
	damaged := []byte(gz)
	damaged[len(damaged)-6] ^= 0xff // in the checksum
	for name, c := range map[string]struct {
		request *http.Request
		status  int
		code    relay.Code
		says    string
	}{
		"too large by its length":    {unreadable(t, post(reportPath, big)), 413, relay.CodeTooLarge, "4096 bytes"},
		"too large, chunked":         {unsized(post(reportPath, big)), 413, relay.CodeTooLarge, "4096 bytes"},
		"too large, generic":         {unreadable(t, post(queuePath, big)), 413, relay.CodeTooLarge, "4096 bytes"},
		"gzip bomb":                  {post(reportPath, gzipped(t, strings.Repeat(" ", 1<<20)), "Content-Encoding", "gzip"), 413, relay.CodeTooLarge, "4096 bytes"},
		"gzip bomb of empty members": {unsized(post(reportPath, strings.Repeat(gzipped(t, ""), 400), "Content-Encoding", "gzip")), 413, relay.CodeTooLarge, "4096 bytes"},
		"truncated gzip":             {post(reportPath, gz[:len(gz)/2], "Content-Encoding", "gzip"), 400, relay.CodeMalformed, "ended before it was complete"},
		"truncated gzip header":      {post(reportPath, gz[:5], "Content-Encoding", "gzip"), 400, relay.CodeMalformed, "ended before it was complete"},
		"damaged gzip":               {post(reportPath, string(damaged), "Content-Encoding", "gzip"), 400, relay.CodeMalformed, "damaged"},
		"gzip and more":              {post(reportPath, gz+"rubbish-rubbish", "Content-Encoding", "gzip"), 400, relay.CodeMalformed, "damaged"},
		"no gzip after all":          {post(reportPath, report, "Content-Encoding", "gzip"), 400, relay.CodeMalformed, "not gzip"},
		"unknown encoding":           {unreadable(t, post(reportPath, report, "Content-Encoding", "br")), 415, relay.CodeUnsupportedMediaType, "takes gzip or none"},
		"two encodings":              {unreadable(t, post(reportPath, report, "Content-Encoding", "gzip", "Content-Encoding", "gzip")), 415, relay.CodeUnsupportedMediaType, "takes gzip or none"},
		"wrong type":                 {unreadable(t, retype(post(reportPath, report), "application/x-yaml")), 415, relay.CodeUnsupportedMediaType, "takes application/json"},
		"no type":                    {unreadable(t, retype(post(reportPath, report), "")), 415, relay.CodeUnsupportedMediaType, "takes application/json"},
		"empty":                      {post(reportPath, ""), 400, relay.CodeMalformed, "not JSON at byte 0"},
		"not JSON":                   {post(reportPath, `{"config_report":{,}}`), 400, relay.CodeMalformed, "at byte 19"},
		"half a JSON":                {post(reportPath, report[:40]), 400, relay.CodeMalformed, "unexpected end"},
		"trailing garbage":           {post(reportPath, report+" x"), 400, relay.CodeMalformed, "after the document"},
		"no host":                    {post(reportPath, `{"config_report":{"reported_at":"2026-11-23 11:59:00 UTC"}}`), 422, relay.CodeInvalid, "/config_report/host"},
		"no time":                    {post(reportPath, `{"config_report":{"host":"a","reported_at":"yesterday or so"}}`), 422, relay.CodeInvalid, "/config_report/reported_at"},
		"facts without a name":       {post(factsPath, `{"facts":{}}`), 422, relay.CodeInvalid, "/name"},
		"an array":                   {post(factsPath, `[]`), 422, relay.CodeInvalid, "object"},
		"unknown queue":              {unreadable(t, post("/relay/v1/queues/default/nowhere/messages", "{}")), 404, relay.CodeNotFound, "no queue default/nowhere"},
		"unknown organization":       {unreadable(t, post("/relay/v1/queues/other/foreman/messages", "{}")), 404, relay.CodeNotFound, "no queue other/foreman"},
		"unknown path":               {post("/api/v2/hosts", "{}"), 404, relay.CodeNotFound, "no route"},
		"unknown relay route":        {post(queuePath, "{}", "Relay-Route", "nothing"), 422, relay.CodeInvalid, `no route "nothing"`},
		"another queue's route":      {post("/relay/v1/queues/ACME%20Inc%2F100%25%20a%2541/hook/messages", "{}", "Relay-Route", "facts"), 422, relay.CodeInvalid, "no route"},
		"route's schema, generic":    {post(queuePath, "{}", "Relay-Route", "facts"), 422, relay.CodeInvalid, "/facts"},
		"key too long":               {post(factsPath, facts, "Idempotency-Key", long), 400, relay.CodeMalformed, "Idempotency-Key"},
		"key given twice":            {post(factsPath, facts, "Idempotency-Key", "a", "Idempotency-Key", "b"), 400, relay.CodeMalformed, "Idempotency-Key"},
		"key empty":                  {post(factsPath, facts, "Idempotency-Key", ""), 400, relay.CodeMalformed, "Idempotency-Key"},
		"key not ASCII":              {post(factsPath, facts, "Idempotency-Key", "clé"), 400, relay.CodeMalformed, "Idempotency-Key"},
		"key with a control":         {post(factsPath, facts, "Idempotency-Key", "a\tb"), 400, relay.CodeMalformed, "Idempotency-Key"},
		"lane too long":              {post(queuePath, "{}", "Relay-Ordering-Key", long), 400, relay.CodeMalformed, "Relay-Ordering-Key"},
		"lane not printable":         {post(queuePath, "{}", "Relay-Ordering-Key", "a\x01"), 400, relay.CodeMalformed, "Relay-Ordering-Key"},
		"type too long":              {retype(post(queuePath, "{}"), "a/"+strings.Repeat("b", 5000)), 400, relay.CodeMalformed, "Content-Type"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newEdge(t, nil)
			w := b.do(c.request)
			require.Equal(t, c.status, w.Code, w.Body)
			p := recorded(t, w, c.code)
			require.Contains(t, p.Detail, c.says)
			require.Empty(t, b.intake.accepted())
		})
	}
}

func retype(r *http.Request, contentType string) *http.Request {
	r.Header.Del("Content-Type")
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

// TestViolations: each thing that is wrong is named with its place.
func TestViolations(t *testing.T) {
	b := newEdge(t, nil)
	p := recorded(t, b.do(post(reportPath, `{"config_report":{"host":1}}`)), relay.CodeInvalid)
	require.Len(t, p.Violations, 2)
	require.Equal(t, "/config_report/host", p.Violations[0].Pointer)
	require.Equal(t, "/config_report/reported_at", p.Violations[1].Pointer)
	require.NotEmpty(t, p.Violations[1].Message)
	require.Empty(t, b.intake.accepted())
}

// TestMethods: a known path with another method says which it takes.
func TestMethods(t *testing.T) {
	b := newEdge(t, nil)
	for _, path := range []string{reportPath, factsPath, queuePath} {
		r := post(path, report)
		r.Method = http.MethodPut
		w := b.do(r)
		require.Equal(t, http.StatusMethodNotAllowed, w.Code)
		recorded(t, w, relay.CodeMethodNotAllowed)
		require.Contains(t, w.Header().Get("Allow"), http.MethodPost)
	}
	require.Empty(t, b.intake.accepted())
}

// TestLimitIsIncluded: a body of exactly the limit is taken, sized or not, and
// also when gzip makes it longer than it is.
func TestLimitIsIncluded(t *testing.T) {
	body := noise(maxBody)
	fullFacts := `{"name":"a","facts":{"n":"`
	fullFacts += base64.StdEncoding.EncodeToString([]byte(body))[:maxBody-len(fullFacts)-3] + `"}}`
	for name, r := range map[string]*http.Request{
		"sized":   post(queuePath, body),
		"chunked": unsized(post(queuePath, body)),

		"gzip":          post(factsPath, gzipped(t, fullFacts), "Content-Encoding", "gzip"),
		"gzip, chunked": unsized(post(factsPath, gzipped(t, fullFacts), "Content-Encoding", "gzip")),
	} {
		t.Run(name, func(t *testing.T) {
			b := newEdge(t, nil)
			require.Equal(t, http.StatusAccepted, b.do(r).Code)
			require.Len(t, b.intake.one(t).Body, maxBody)
		})
	}
}

// noise is text that does not compress, always the same.
func noise(n int) string {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return string(b)
}

package foreman

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/outgoing"
	"github.com/theforeman/foreman-relay/test/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, harness.Lingering()) }

func client(t *testing.T, url string) *Client {
	t.Helper()
	c, err := New(Options{Options: outgoing.Options{URL: url, AttemptTimeout: 500 * time.Millisecond, UserAgent: "test/1"}})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func message() *relay.Message {
	return &relay.Message{ID: "the-id", Key: "report\x1fhost", Method: "POST", Path: "/api/config_reports?a=b%20c", Body: []byte(`{"a":"b"}`),
		ContentType: "application/json", Accept: "*/*", RequestID: "r1"}
}

func TestDeliverSendsWhatWasStored(t *testing.T) {
	var got *http.Request
	var body []byte
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.Header().Set("Foreman_version", "3.13.0")
		w.WriteHeader(http.StatusCreated)
	})
	r := client(t, s.URL+"/sub/").Deliver(t.Context(), message())
	require.Equal(t, relay.ClassDelivered, r.Class)
	require.Equal(t, `{"a":"b"}`, string(body))
	require.Equal(t, "/sub/api/config_reports?a=b%20c", got.URL.RequestURI())
	for name, want := range map[string]string{"Content-Type": "application/json", "Accept": "*/*", "X-Request-Id": "r1", "User-Agent": "test/1",
		"Idempotency-Key": "the-id", "Relay-Message-Id": "the-id", "Accept-Encoding": "", "Content-Encoding": ""} {
		require.Equal(t, want, got.Header.Get(name), name)
	}
}

func TestDeliverFollowsNoRedirect(t *testing.T) {
	var hit atomic.Bool
	elsewhere := serve(t, func(http.ResponseWriter, *http.Request) { hit.Store(true) })
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	})
	require.Equal(t, relay.ClassUnavailable, client(t, s.URL).Deliver(t.Context(), message()).Class)
	require.False(t, hit.Load())
}

func TestAPathNeverLeavesTheHost(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("nothing must be sent") })
	c := client(t, s.URL)
	for _, path := range []string{"//evil.example.com/x", "http://evil.example.com/", "@evil.example.com", "x", "/%zz"} {
		m := message()
		m.Path = path
		require.Equal(t, relay.ClassRejected, c.Deliver(t.Context(), m).Class, path)
	}
}

func TestNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	r := client(t, "http://"+l.Addr().String()).Deliver(t.Context(), message())
	require.Equal(t, []any{relay.ClassUnavailable, false}, []any{r.Class, r.Ambiguous})
	require.Contains(t, r.Detail, "refused")
	require.NotContains(t, r.Detail, "config_reports", "an error holds no URL")
}

// A request whose connection is cut is sent once, not again by the transport:
// one attempt is one attempt.
func TestADroppedConnectionIsOneAttempt(t *testing.T) {
	var n atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		if n.Add(1) == 1 {
			w.Header().Set("Foreman_version", "3")
			return // so that the next one uses a connection that was used before
		}
		panic(http.ErrAbortHandler)
	})
	c := client(t, s.URL)
	require.Equal(t, relay.ClassDelivered, c.Deliver(t.Context(), message()).Class)
	r := c.Deliver(t.Context(), message())
	require.Equal(t, []any{relay.ClassUnavailable, true}, []any{r.Class, r.Ambiguous})
	require.EqualValues(t, 2, n.Load())
}

func TestASlowAnswerEndsWithTheAttempt(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		select {
		case <-r.Context().Done():
		case <-release:
		}
	})
	defer close(release)
	r := client(t, s.URL).Deliver(t.Context(), message())
	require.Equal(t, []any{relay.ClassUnavailable, relay.ReasonTimeout, true}, []any{r.Class, r.Reason, r.Ambiguous})
}

func TestProbe(t *testing.T) {
	version := func(w http.ResponseWriter) { w.Header().Set("Foreman_version", "3.13.0") }
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"there": {func(w http.ResponseWriter, r *http.Request) {
			version(w)
			require.Equal(t, "/api/v2/ping", r.URL.Path)
			_, _ = io.WriteString(w, `{"results":{"foreman":{"database":{"active":true}}}}`)
		}, ""},
		"without its database": {func(w http.ResponseWriter, _ *http.Request) {
			version(w)
			_, _ = io.WriteString(w, `{"results":{"foreman":{"database":{"active":false}}}}`)
		}, "database"},
		"a maintenance page": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, "not Foreman"},
		"503":                {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, "503"},
	} {
		t.Run(name, func(t *testing.T) {
			err := client(t, serve(t, c.answer).URL).Probe(t.Context())
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, client(t, "http://127.0.0.1:9").Probe(ctx))
}

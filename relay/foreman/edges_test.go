package foreman

import (
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// A 101 hands over the connection itself, whose end no deadline brings.
func TestASwitchedProtocolDoesNotHoldTheAttempt(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan struct{})
	go func() {
		defer close(served)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = conn.Read(make([]byte, 4096))
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
		_, _ = io.Copy(io.Discard, conn)
	}()
	t.Cleanup(func() { _ = l.Close(); <-served })
	c := client(t, "http://"+l.Addr().String())
	got := make(chan relay.Result, 1)
	go func() { got <- c.Deliver(t.Context(), message()) }()
	select {
	case r := <-got:
		require.Equal(t, relay.ClassTransient, r.Class)
	case <-time.After(10 * time.Second):
		t.Fatal("the attempt does not end")
	}
}

// One attempt is one request, also without a body: package http would send a
// POST with an idempotency key again when a used connection breaks.
func TestARequestWithoutABodyIsSentOnce(t *testing.T) {
	var requests atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if requests.Add(1) == 2 {
			panic(http.ErrAbortHandler) // taken, but the connection breaks
		}
		w.Header()["Foreman_version"] = []string{"3.13.0"}
		w.WriteHeader(http.StatusCreated)
	})
	c := client(t, s.URL)
	m := message()
	m.Body = nil
	require.Equal(t, relay.ClassDelivered, c.Deliver(t.Context(), m).Class)
	r := c.Deliver(t.Context(), m)
	require.Equal(t, relay.ClassUnavailable, r.Class)
	require.True(t, r.Ambiguous)
	require.EqualValues(t, 2, requests.Load())
}

func TestAPathStaysBelowTheBase(t *testing.T) {
	var paths []string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.RequestURI)
		w.Header()["Foreman_version"] = []string{"3.13.0"}
	})
	c := client(t, s.URL+"/base")
	for path, want := range map[string]string{
		"/a/..b/c.": "/base/a/..b/c.", "/a%2Fb?x=%20": "/base/a%2Fb?x=%20", "/a?b c": "/base/a?b%20c",
		"/../admin": "", "/a/../../admin": "", "/%2e%2e/admin": "", "/a/./b": "",
	} {
		paths = nil
		m := message()
		m.Path = path
		r := c.Deliver(t.Context(), m)
		if want == "" {
			assert.Equal(t, relay.ClassRejected, r.Class, path)
			assert.Empty(t, paths, path)
			continue
		}
		assert.Equal(t, []string{want}, paths, path)
	}
}

// What no header can hold will never be sent: it is no outage, and the circuit
// stays closed.
func TestAHeaderThatCannotBeSentIsRejected(t *testing.T) {
	c := client(t, "http://127.0.0.1:9")
	for name, change := range map[string]func(*relay.Message){
		"Content-Type": func(m *relay.Message) { m.ContentType = "a\r\nX: y" },
		"X-Request-Id": func(m *relay.Message) { m.RequestID = "a\x00b" },
	} {
		m := message()
		change(m)
		r := c.Deliver(t.Context(), m)
		require.Equal(t, relay.ClassRejected, r.Class, name)
		require.Contains(t, r.Detail, name)
	}
}

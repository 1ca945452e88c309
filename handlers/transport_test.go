package handlers_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

// serve runs the edge on a real port until the test ends.
func serve(t *testing.T, b *bench) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := handlers.NewServer(b, nil, zerolog.Nop())
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		require.ErrorIs(t, <-done, http.ErrServerClosed)
	})
	return l.Addr().String()
}

// wire is one connection on which a test writes what no client would.
type wire struct {
	t    *testing.T
	conn *net.TCPConn
	in   *bufio.Reader
}

func dial(t *testing.T, addr string) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	return &wire{t, conn.(*net.TCPConn), bufio.NewReader(conn)}
}

func (w *wire) write(format string, args ...any) {
	w.t.Helper()
	_, err := fmt.Fprintf(w.conn, format, args...)
	require.NoError(w.t, err)
}

func (w *wire) head(path, headers string) {
	w.t.Helper()
	w.write("POST %s HTTP/1.1\r\nHost: relay\r\nContent-Type: application/json\r\n%s\r\n", path, headers)
}

func (w *wire) answer() (*http.Response, []byte) {
	w.t.Helper()
	resp, err := http.ReadResponse(w.in, nil)
	require.NoError(w.t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(w.t, err)
	return resp, body
}

func (w *wire) problem(status int, code relay.Code) handlers.Problem {
	w.t.Helper()
	resp, body := w.answer()
	require.Equal(w.t, status, resp.StatusCode, "%s", body)
	return problem(w.t, resp.StatusCode, resp.Header, body, code)
}

func (w *wire) closed() {
	w.t.Helper()
	_, err := w.in.ReadByte()
	require.ErrorIs(w.t, err, io.EOF)
}

const quick = 150 * time.Millisecond

func hasty(o *handlers.EdgeOptions) { o.BodyTimeout = quick }

// TestSlowBody: a body that does not come is given up, and its sender is told
// while it still waits.
func TestSlowBody(t *testing.T) {
	for name, c := range map[string]struct{ path, headers, begin string }{
		"nothing comes":       {reportPath, "Content-Length: 100\r\n", ""},
		"a part comes":        {reportPath, "Content-Length: 100\r\n", `{"config_`},
		"a chunk comes":       {reportPath, "Transfer-Encoding: chunked\r\n", "3\r\n{\"a\r\n"},
		"a part of gzip":      {reportPath, "Content-Length: 100\r\nContent-Encoding: gzip\r\n", "\x1f\x8b\x08\x00"},
		"to a queue":          {queuePath, "Content-Length: 100\r\n", `{"config_`},
		"100-continue, empty": {reportPath, "Content-Length: 100\r\nExpect: 100-continue\r\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newEdge(t, hasty)
			w := dial(t, serve(t, b))
			start := time.Now()
			w.head(c.path, c.headers)
			w.write("%s", c.begin)
			if name == "100-continue, empty" {
				resp, err := http.ReadResponse(w.in, nil)
				require.NoError(t, err)
				require.Equal(t, http.StatusContinue, resp.StatusCode)
			}
			p := w.problem(http.StatusRequestTimeout, relay.CodeTimeout)
			require.Contains(t, p.Detail, "did not come within")
			require.GreaterOrEqual(t, time.Since(start), quick)
			require.Less(t, time.Since(start), 5*time.Second)
			w.closed()
			require.Empty(t, b.intake.accepted())
		})
	}
}

// TestTricklingBody: the limit is for the whole body, not between its bytes.
func TestTricklingBody(t *testing.T) {
	b := newEdge(t, hasty)
	w := dial(t, serve(t, b))
	w.head(reportPath, "Content-Length: 100\r\n")
	stop := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(quick / 10)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if _, err := w.conn.Write([]byte(" ")); err != nil {
					return
				}
			case <-stop:
				return
			}
		}
	}()
	w.problem(http.StatusRequestTimeout, relay.CodeTimeout)
	close(stop)
	<-stopped
	require.Empty(t, b.intake.accepted())
}

// TestSlowBodyOfRefused: a request that is refused by its head does not hold its
// connection longer than its body may take.
func TestSlowBodyOfRefused(t *testing.T) {
	for name, c := range map[string]struct {
		path, headers string
		code          relay.Code
	}{
		"unknown path":  {"/nowhere", "Content-Length: 100\r\n", relay.CodeNotFound},
		"unknown queue": {"/relay/v1/queues/a/b/messages", "Content-Length: 100\r\n", relay.CodeNotFound},
		"encoding":      {reportPath, "Content-Length: 100\r\nContent-Encoding: br\r\n", relay.CodeUnsupportedMediaType},
		"chunked":       {"/nowhere", "Transfer-Encoding: chunked\r\n", relay.CodeNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			b := newEdge(t, hasty)
			w := dial(t, serve(t, b))
			w.head(c.path, c.headers)
			w.problem(codes[c.code], c.code)
			w.closed()
			require.Empty(t, b.intake.accepted())
		})
	}
}

// TestTruncatedBody: half a body is no message.
func TestTruncatedBody(t *testing.T) {
	for name, headers := range map[string]string{"sized": "Content-Length: 100\r\n", "chunked": "Transfer-Encoding: chunked\r\n"} {
		t.Run(name, func(t *testing.T) {
			b := newEdge(t, nil)
			w := dial(t, serve(t, b))
			w.head(queuePath, headers)
			w.write("5\r\nhello\r\n")
			require.NoError(t, w.conn.CloseWrite())
			p := w.problem(http.StatusBadRequest, relay.CodeMalformed)
			require.Contains(t, p.Detail, "ended before it was complete")
			require.Empty(t, b.intake.accepted())
		})
	}
}

// TestBrokenChunks: a body that is no chunks after all.
func TestBrokenChunks(t *testing.T) {
	b := newEdge(t, nil)
	w := dial(t, serve(t, b))
	w.head(queuePath, "Transfer-Encoding: chunked\r\n")
	w.write("xyz\r\nhello\r\n0\r\n\r\n")
	w.problem(http.StatusBadRequest, relay.CodeMalformed)
	require.Empty(t, b.intake.accepted())
}

// TestEndlessBody: no more is read than the limit and one byte, however much
// would come.
func TestEndlessBody(t *testing.T) {
	b := newEdge(t, nil)
	w := dial(t, serve(t, b))
	w.head(queuePath, "Transfer-Encoding: chunked\r\n")
	chunk := fmt.Sprintf("%x\r\n%s\r\n", 64<<10, noise(64<<10))
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for range 1000 { // far more than the buffers of both sides hold
			if _, err := io.WriteString(w.conn, chunk); err != nil {
				return
			}
		}
	}()
	w.problem(http.StatusRequestEntityTooLarge, relay.CodeTooLarge)
	require.NoError(t, w.conn.Close())
	<-sent
	require.Empty(t, b.intake.accepted())
}

// TestTooLargeUnsent: a client that asks first is told before it sends.
func TestTooLargeUnsent(t *testing.T) {
	b := newEdge(t, nil)
	w := dial(t, serve(t, b))
	w.head(reportPath, "Content-Length: 100000000\r\nExpect: 100-continue\r\n")
	w.problem(http.StatusRequestEntityTooLarge, relay.CodeTooLarge)
	require.Empty(t, b.intake.accepted())
}

// TestBombOnTheWire: a megabyte of zeros in a kilobyte, in chunks.
func TestBombOnTheWire(t *testing.T) {
	b := newEdge(t, nil)
	w := dial(t, serve(t, b))
	bomb := gzipped(t, string(make([]byte, 1<<20)))
	w.head(reportPath, "Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n")
	w.write("%x\r\n%s\r\n0\r\n\r\n", len(bomb), bomb)
	w.problem(http.StatusRequestEntityTooLarge, relay.CodeTooLarge)
	require.Empty(t, b.intake.accepted())
}

// TestKeepAlive: one connection carries many requests, chunked and sized, and
// the limit of one body is no limit of the next, nor of the storing.
func TestKeepAlive(t *testing.T) {
	b := newEdge(t, hasty)
	b.intake.answer = func(m *relay.Message) (relay.Receipt, error) {
		time.Sleep(2 * quick) // longer than a body may take
		return receiptOf(m), nil
	}
	w := dial(t, serve(t, b))
	for range 2 {
		w.head(reportPath, fmt.Sprintf("Content-Length: %d\r\n", len(report)))
		w.write("%s", report)
		resp, body := w.answer()
		require.Equal(t, http.StatusCreated, resp.StatusCode, "%s", body)

		w.head(reportPath, "Transfer-Encoding: chunked\r\n")
		w.write("%x\r\n%s\r\n0\r\n\r\n", len(report), report)
		resp, body = w.answer()
		require.Equal(t, http.StatusCreated, resp.StatusCode, "%s", body)
	}
	require.Len(t, b.intake.accepted(), 4)
}

// TestStoringOutlivesTheBodyTimeout: the time allowed for a body does not end
// the storing of it.
func TestStoringOutlivesTheBodyTimeout(t *testing.T) {
	b := newEdge(t, hasty)
	ended := make(chan error, 1)
	b.Intake = waiting{b.intake, ended}
	w := dial(t, serve(t, b))
	w.head(reportPath, fmt.Sprintf("Content-Length: %d\r\n", len(report)))
	w.write("%s", report)
	resp, body := w.answer()
	require.Equal(t, http.StatusCreated, resp.StatusCode, "%s", body)
	require.NoError(t, <-ended)
}

// TestAfterRefusal: a refused request does not spoil the next one on its
// connection, however late that comes.
func TestAfterRefusal(t *testing.T) {
	b := newEdge(t, hasty)
	w := dial(t, serve(t, b))
	w.head("/nowhere", fmt.Sprintf("Content-Length: %d\r\n", len(report)))
	w.write("%s", report)
	w.problem(http.StatusNotFound, relay.CodeNotFound)
	time.Sleep(2 * quick)
	w.head(reportPath, fmt.Sprintf("Content-Length: %d\r\n", len(report)))
	w.write("%s", report)
	resp, body := w.answer()
	require.Equal(t, http.StatusCreated, resp.StatusCode, "%s", body)
}

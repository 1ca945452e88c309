package handlers_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

// taking is an intake that reads each body to its end.
func taking(b *bench, got *[]byte) {
	b.intake.answer = func(m *relay.Message) (relay.Receipt, error) {
		r, err := m.Content(context.Background())
		if err != nil {
			return relay.Receipt{}, err
		}
		if *got, err = io.ReadAll(r); err != nil {
			return relay.Receipt{}, err
		}
		return receiptOf(m), nil
	}
}

func upTo(limit int64) func(*handlers.EdgeOptions) {
	return func(o *handlers.EdgeOptions) { o.MaxBody = limit }
}

// A large body for a queue is left to come; a small one is there when the message
// is accepted.
func TestALargeBodyIsStoredWhileItComes(t *testing.T) {
	for name, c := range map[string]struct {
		size  int
		known bool
		comes bool
	}{
		"small": {relay.MaxInline, true, false}, "large": {relay.MaxInline + 1, true, true}, "large, of unknown size": {3 << 20, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newEdge(t, upTo(4<<20))
			var got []byte
			taking(b, &got)
			body := bytes.Repeat([]byte("body"), c.size/4+1)[:c.size]
			r := httptest.NewRequest(http.MethodPost, queuePath, bytes.NewReader(body))
			if !c.known {
				r.ContentLength = -1
			}
			w := b.do(r)
			require.Equal(t, http.StatusAccepted, w.Code, w.Body)
			m := b.intake.one(t)
			require.Equal(t, []any{c.comes, !c.comes}, []any{m.Open != nil, m.Digest != ""})
			require.Equal(t, relay.DigestOf(body), relay.DigestOf(got))
			require.Equal(t, "application/octet-stream", m.ContentType)
			if c.comes && c.known {
				require.EqualValues(t, c.size, m.Length())
			}
			if c.comes {
				_, err := m.Content(t.Context())
				require.Equal(t, relay.CodeInternal, relay.CodeOf(err), "a request's body comes once")
			}
		})
	}
}

// A route that looks at its body has it whole, and a limit of its own.
func TestARouteThatLooksAtItsBodyHasItWhole(t *testing.T) {
	b := newEdge(t, upTo(64<<20))
	padded := []byte(facts[:len(facts)-1] + `,"_":"` + string(bytes.Repeat([]byte("x"), 2<<20)) + `"}`)
	require.Equal(t, http.StatusAccepted, b.do(post(factsPath, string(padded))).Code)
	m := b.intake.one(t)
	require.Nil(t, m.Open)
	require.Len(t, m.Body, len(padded))
	r := post(factsPath, "")
	r.ContentLength = 8<<20 + 1
	require.Equal(t, http.StatusRequestEntityTooLarge, b.do(r).Code)
}

// The limit holds for what comes later too, said or not.
func TestALargeBodyHasItsLimit(t *testing.T) {
	for _, known := range []bool{true, false} {
		b := newEdge(t, upTo(2<<20))
		var got []byte
		taking(b, &got)
		r := httptest.NewRequest(http.MethodPost, queuePath, bytes.NewReader(make([]byte, 2<<20+1)))
		if !known {
			r.ContentLength = -1
		}
		recorded(t, b.do(r), relay.CodeTooLarge)
	}
	b := newEdge(t, upTo(2<<20))
	var got []byte
	taking(b, &got)
	require.Equal(t, http.StatusAccepted, b.do(httptest.NewRequest(http.MethodPost, queuePath, bytes.NewReader(make([]byte, 2<<20)))).Code)
}

// A large body that stops coming is given up like any other, and one that is cut
// off too.
func TestALargeBodyThatDoesNotCome(t *testing.T) {
	begin := string(make([]byte, 2<<20))
	for name, c := range map[string]struct {
		cut    bool
		status int
		code   relay.Code
	}{"it stops": {false, http.StatusRequestTimeout, relay.CodeTimeout}, "it is cut off": {true, http.StatusBadRequest, relay.CodeMalformed}} {
		t.Run(name, func(t *testing.T) {
			b := newEdge(t, func(o *handlers.EdgeOptions) { o.MaxBody, o.BodyTimeout = 8<<20, 4*quick })
			var got []byte
			taking(b, &got)
			w := dial(t, serve(t, b))
			w.head(queuePath, "Content-Length: 3000000\r\n")
			w.write("%s", begin)
			if c.cut {
				require.NoError(t, w.conn.CloseWrite())
			}
			w.problem(c.status, c.code)
		})
	}
}

// Each 8 MiB have the time of a body anew; the time in which nothing is read
// because what came is being stored is not the sender's.
func TestALargeBodyHasTimeByItsSize(t *testing.T) {
	const patience = 400 * time.Millisecond
	b := newEdge(t, func(o *handlers.EdgeOptions) { o.MaxBody, o.BodyTimeout = 64<<20, patience })
	b.intake.answer = func(m *relay.Message) (relay.Receipt, error) {
		r, err := m.Content(context.Background())
		if err != nil {
			return relay.Receipt{}, err
		}
		buf := make([]byte, 1<<20)
		if _, err := io.ReadFull(r, buf); err != nil {
			return relay.Receipt{}, err
		}
		<-time.After(2 * patience) // a slow disk
		if _, err := io.Copy(io.Discard, r); err != nil {
			return relay.Receipt{}, err
		}
		return receiptOf(m), nil
	}
	w := dial(t, serve(t, b))
	w.head(queuePath, "Content-Length: 25165824\r\n")
	step := string(make([]byte, 8<<20))
	for range 3 {
		w.write("%s", step[:8<<20-1])
		<-time.After(patience / 2)
		w.write("%s", step[:1])
	}
	resp, body := w.answer()
	require.Equal(t, http.StatusAccepted, resp.StatusCode, "%s", body)
}

// A body that takes longer than the server has to write is answered all the same.
func TestALargeBodyMayTakeLongerThanAnAnswer(t *testing.T) {
	b := newEdge(t, upTo(4<<20))
	var got []byte
	taking(b, &got)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := handlers.NewServer(b, nil, zerolog.Nop())
	server.WriteTimeout = quick
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		require.ErrorIs(t, <-done, http.ErrServerClosed)
	})
	w := dial(t, l.Addr().String())
	w.head(queuePath, "Content-Length: 2097152\r\n")
	w.write("%s", string(make([]byte, 2<<20-1)))
	<-time.After(2 * quick)
	w.write("x")
	resp, body := w.answer()
	require.Equal(t, http.StatusAccepted, resp.StatusCode, "%s", body)
}

package foreman

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

const largeText = "a body that is said to be large"

// largeMessage has its body elsewhere; open counts how often it was begun.
func largeMessage(read func() io.Reader) (m *relay.Message, opened *atomic.Int32) {
	m, opened = message(), &atomic.Int32{}
	m.Path, m.Body, m.Object, m.Size = "/x", nil, relay.ObjectName(relay.FreshObject(), 1), int64(len(largeText))
	m.Open = func(context.Context) (io.ReadCloser, error) {
		opened.Add(1)
		return io.NopCloser(read()), nil
	}
	return m, opened
}

func TestALargeBodyIsSentWithItsLength(t *testing.T) {
	var length int64
	var got []byte
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		length = r.ContentLength
		got, _ = io.ReadAll(r.Body)
		w.Header().Set("Foreman_version", "3.13.0")
		w.WriteHeader(http.StatusCreated)
	})
	m, _ := largeMessage(func() io.Reader { return iotest.OneByteReader(strings.NewReader(largeText)) })
	require.Equal(t, relay.ClassDelivered, client(t, s.URL).Deliver(t.Context(), m).Class)
	require.Equal(t, largeText, string(got))
	require.EqualValues(t, len(largeText), length)
}

// A destination that answers before it has read everything has answered.
func TestAnEarlyAnswerToALargeBodyCounts(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Foreman_version", "3.13.0")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	})
	m, _ := largeMessage(func() io.Reader { return io.LimitReader(zeros{}, 32<<20) })
	m.Size = 32 << 20
	r := client(t, s.URL).Deliver(t.Context(), m)
	require.Equal(t, relay.ReasonTooLarge, r.Reason, r.Detail)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// The body is damaged, or not to be had: the destination never sees a request that
// is whole, and what comes of it is not blamed on it.
func TestALargeBodyThatCannotBeRead(t *testing.T) {
	damaged, away := fmt.Errorf("%w: piece 2 of 3", relay.ErrDamaged), errors.New("not connected to the broker")
	for name, c := range map[string]struct {
		err  error
		want relay.Result
	}{
		"damaged": {damaged, relay.Result{Class: relay.ClassRejected, Reason: relay.ReasonDamaged, Detail: damaged.Error()}},
		"away": {away, relay.Result{Class: relay.ClassUnavailable, Confirmed: relay.ClassOutage, Reason: relay.ReasonUnavailable,
			Detail: away.Error()}},
	} {
		t.Run(name, func(t *testing.T) {
			read := make(chan error, 1)
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				_, err := io.ReadAll(r.Body)
				read <- err
				w.WriteHeader(http.StatusUnprocessableEntity)
			})
			m, _ := largeMessage(func() io.Reader {
				return io.MultiReader(strings.NewReader(largeText[:20]), iotest.ErrReader(c.err))
			})
			require.Equal(t, c.want, client(t, s.URL).Deliver(t.Context(), m))
			s.CloseClientConnections()
			select {
			case err := <-read:
				require.Error(t, err, "half a body does not pass for a whole one") // an early end, or the connection that is closed here
			default: // the request was not begun
			}

			m.Open = func(context.Context) (io.ReadCloser, error) { return nil, c.err }
			require.Equal(t, c.want, client(t, s.URL).Deliver(t.Context(), m))
		})
	}
}

// A conversion has the body whole, wherever it is.
func TestALargeBodyIsConverted(t *testing.T) {
	body := smallARF(t)
	m := message()
	m.Route, m.Path, m.Body, m.Digest = "arf", "/api/v2/compliance/arf_reports/a/1/2", nil, relay.DigestOf(body)
	m.Object, m.Size = relay.ObjectName(relay.FreshObject(), 1), int64(len(body))
	m.Open = func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(string(body))), nil
	}
	d, err := client(t, "http://127.0.0.1:1").convert(t.Context(), m)
	require.NoError(t, err)
	require.Contains(t, string(d.Body), "rule_umask")
	require.Nil(t, m.Body, "the message stays as it is")

	m.Open = func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(iotest.ErrReader(relay.ErrDamaged)), nil
	}
	require.Equal(t, relay.ReasonDamaged, client(t, "http://127.0.0.1:1").Deliver(t.Context(), m).Reason)
}

package outgoing

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/theforeman/foreman-relay/relay"
)

// LargeBody is a body that is read while it is sent, and perhaps again from its
// beginning: package http does that by itself where a connection was closed before
// anything was sent on it.
type LargeBody struct {
	message *relay.Message

	mu  sync.Mutex
	err error
}

// open begins to read. What stops the reading before the end stops the request:
// the destination was told a length, and sees that the body is not whole.
func (b *LargeBody) open(ctx context.Context) (io.ReadCloser, error) {
	r, err := b.message.Content(ctx)
	if err != nil {
		b.fail(err)
		return nil, &BodyError{err}
	}
	return &watched{r, b}, nil
}

func (b *LargeBody) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = &BodyError{err}
	}
}

// failure is why the body could not be read; nil: it could.
func (b *LargeBody) failure() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// watched notes why reading fails: what package http makes of it is about the
// connection. The end of the attempt is no such reason.
type watched struct {
	io.ReadCloser
	body *LargeBody
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		w.body.fail(err)
	}
	return n, err
}

// attach makes a request send the body.
func (b *LargeBody) attach(req *http.Request) error {
	body, err := b.open(req.Context())
	if err != nil {
		return err
	}
	req.Body, req.ContentLength, req.GetBody = body, b.message.Size, nil
	if req.Method == http.MethodGet { // see request
		return nil
	}
	req.GetBody = func() (io.ReadCloser, error) { return b.open(req.Context()) }
	return nil
}

// BodyError: the message's body could not be read from the broker. That says
// nothing of the destination.
type BodyError struct{ error }

// Unread is the error of a body that could not be read.
func Unread(err error) error { return &BodyError{err} }

func (e *BodyError) Unwrap() error { return e.error }

// outweighs says whether it is the reason for an answer, or for there being none: a
// destination that has seen half a body may have answered that.
func (e *BodyError) outweighs(a relay.Answer) bool {
	return a.Status == 0 || a.Status > 299 && relay.Unreadable(e.error)
}

// result judges it.
func (e *BodyError) result() relay.Result { return relay.UnreadBody(e.error) }

package handlers

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

// bodyStep is how much of a large body has to come in the time that is allowed for
// a body, in bytes: each step has that time anew, so that a longer one may take
// longer, but none may come more slowly.
const bodyStep = 8 << 20

// incoming is a large body that is stored while it comes (relay.Message, Open). It
// can be read once. An error of it is a *relay.Error.
type incoming struct {
	from    io.Reader
	control *http.ResponseController
	limit   int64
	timeout time.Duration

	got   int64
	until time.Time // when the present step has to be there
	left  time.Time // since then what was read is being stored; zero: nothing is
	taken bool
}

func newIncoming(w http.ResponseWriter, body requestBody, limit int64, timeout time.Duration) *incoming {
	return &incoming{from: io.MultiReader(bytes.NewReader(body.whole), body.rest), limit: limit, timeout: timeout,
		control: http.NewResponseController(w), until: time.Now().Add(timeout)}
}

func (i *incoming) open(context.Context) (io.ReadCloser, error) {
	if i.taken {
		return nil, relay.Refuse(relay.CodeInternal, "a request's body was asked for twice")
	}
	i.taken = true
	return i, nil
}

// Close ends the reading, not the request's body: that is the server's.
func (i *incoming) Close() error { return nil }

func (i *incoming) Read(p []byte) (int, error) {
	if !i.left.IsZero() {
		i.until = i.until.Add(time.Since(i.left)) // the sender does not answer for the disk
	}
	_ = i.control.SetReadDeadline(i.until)                    // a test's recorder has none
	_ = i.control.SetWriteDeadline(i.until.Add(writeTimeout)) // the server's began with the request
	n, err := i.from.Read(p)
	i.left = time.Now()
	if before := i.got / bodyStep; (i.got+int64(n))/bodyStep > before {
		i.until = i.left.Add(i.timeout)
	}
	i.got += int64(n)
	switch {
	case i.got > i.limit:
		return 0, tooLarge(i.limit)
	case errors.Is(err, io.EOF):
		_ = i.control.SetReadDeadline(time.Time{}) // what follows is no reading; see hurry
		return n, io.EOF
	case err != nil:
		return n, bodyError(err, i.limit)
	}
	return n, nil
}

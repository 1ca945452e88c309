package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/theforeman/foreman-relay/relay"
)

// A request that only a destination can answer goes over the channel as one
// message, and its answer comes back in numbered frames. All but the first and the
// last wait until the edge has taken them, so that a slow caller slows the drain
// down, nothing piles up, and a frame that is lost ends the exchange.
//
//	begun    a drain has the request; it is about to ask
//	part     a piece of the answer; the first one says status and headers
//	end      the last piece
//	failed   there is no answer, or no more of it, and why

// frameSize is how much of an answer a frame holds, in bytes.
const frameSize = 512 << 10

const (
	hdrPass       = "Relay-Pass"        // of a request: passCall
	hdrFrame      = "Relay-Pass-Frame"  // of a frame: its kind
	hdrFrameCount = "Relay-Pass-Number" // which one it is, from 1 on; begun has none
	hdrPassHead   = "Relay-Pass-Head"   // of the first piece: passHead; of failed: passFailure
)

const (
	frameBegun  = "begun"
	framePart   = "part"
	frameEnd    = "end"
	frameFailed = "failed"
)

// passCall is what the edge asks for. What may be asked for is the drain's to say.
type passCall struct {
	Name   string        `json:"name"` // of the pass
	Method string        `json:"method"`
	Path   string        `json:"path"`
	Header http.Header   `json:"header,omitempty"`
	Client string        `json:"client"`
	Within time.Duration `json:"within"` // so long does the edge wait
}

// passHead is how an answer begins.
type passHead struct {
	Status int         `json:"status"`
	Header http.Header `json:"header,omitempty"`
	Length int64       `json:"length"` // bytes; -1: not known yet
}

// passFailure is why there is no answer.
type passFailure struct {
	Detail     string        `json:"detail"`
	Busy       bool          `json:"busy,omitempty"`
	RetryAfter time.Duration `json:"retry_after,omitempty"`
}

// failureOf is what a caller at the edge may be told of an error.
func failureOf(err error) passFailure {
	f := passFailure{Detail: "the drain has no answer", Busy: errors.Is(err, relay.ErrBusy)}
	var refused *relay.Error
	if errors.As(err, &refused) {
		f.Detail, f.RetryAfter = refused.Detail, refused.RetryAfter
	}
	return f
}

// err is the failure on the edge's side.
func (f passFailure) err() error {
	e := &relay.Error{Code: relay.CodeAway, Detail: relay.Excerpt([]byte(f.Detail)), RetryAfter: max(0, min(f.RetryAfter, time.Minute))}
	if f.Busy {
		e.Err = relay.ErrBusy
	}
	return e
}

// newFrame makes a frame; head may be nil.
func newFrame(to, kind string, number int, head any, data []byte) (*nats.Msg, error) {
	msg := &nats.Msg{Subject: to, Header: nats.Header{hdrFrame: {kind}}, Data: data}
	if number > 0 {
		msg.Header.Set(hdrFrameCount, strconv.Itoa(number))
	}
	if head != nil {
		text, err := json.Marshal(head)
		if err != nil {
			return nil, err
		}
		msg.Header.Set(hdrPassHead, string(text))
	}
	return msg, nil
}

// readFrame takes a frame apart that must be the next one: its kind, and why it
// failed.
func readFrame(msg *nats.Msg, number int) (kind string, err error) {
	switch kind = msg.Header.Get(hdrFrame); kind {
	case frameBegun:
		return kind, nil
	case frameFailed:
		var f passFailure
		if err := json.Unmarshal([]byte(msg.Header.Get(hdrPassHead)), &f); err != nil {
			return kind, fmt.Errorf("a drain says that it failed, and not why: %w", err)
		}
		return kind, f.err()
	case framePart, frameEnd:
	default:
		return kind, fmt.Errorf("a drain answers with %q", relay.Excerpt([]byte(kind)))
	}
	if got := msg.Header.Get(hdrFrameCount); got != strconv.Itoa(number) {
		return kind, fmt.Errorf("piece %d of the answer was lost on the way", number)
	}
	if len(msg.Data) > frameSize {
		return kind, fmt.Errorf("piece %d of the answer is too large", number)
	}
	return kind, nil
}

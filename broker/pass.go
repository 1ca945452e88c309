package broker

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/theforeman/foreman-relay/relay"
)

const (
	// passBegin is how long a drain may take to say that it has a request. It does
	// so before it asks anybody: who says nothing is away.
	passBegin = 2 * time.Second
	// passQuiet is how long nobody is asked after a drain that said nothing.
	passQuiet = 2 * time.Second
)

// passer asks the drains that dial in from far away (relay.Passer).
type passer struct {
	nc          *nats.Conn
	destination string
	places      *relay.PassPlaces
	quiet       atomic.Int64 // until then nobody is asked; nanoseconds since 1970
}

// Passer asks the far drains of a destination for what only it can answer, so many
// requests at one time. While no drain is connected it says so at once.
func (b *Broker) Passer(destination string, concurrency int) relay.Passer {
	return &passer{nc: b.door, destination: destination, places: relay.NewPassPlaces(concurrency)}
}

// Pass asks one of the drains.
func (p *passer) Pass(ctx context.Context, pass relay.Pass, r relay.PassRequest) (*relay.PassAnswer, error) {
	if err := pass.Permits(r); err != nil {
		return nil, noAnswer("this cannot be passed on", err)
	}
	leave, err := p.places.Enter(pass.Whole)
	if err != nil {
		return nil, err
	}
	if time.Now().UnixNano() < p.quiet.Load() {
		leave()
		return nil, &relay.Error{Code: relay.CodeAway, RetryAfter: passQuiet, Detail: "the drain did not answer a moment ago"}
	}
	ctx, cancel := context.WithTimeout(ctx, pass.Timeout)
	x := &exchange{ctx: ctx, left: pass.MaxAnswer, end: func() { cancel(); leave() }}
	a, err := p.ask(x, pass, r)
	if err == nil && pass.Whole {
		err = x.gather(a)
	}
	if err != nil {
		_ = x.Close() // the error is what counts
		return nil, err
	}
	return a, nil
}

// ask sends the request and returns when the answer begins.
func (p *passer) ask(x *exchange, pass relay.Pass, r relay.PassRequest) (*relay.PassAnswer, error) {
	reply := passReply(p.destination, rand.Text())
	deadline, _ := x.ctx.Deadline() // it was set above
	call, err := json.Marshal(passCall{Name: pass.Name, Method: r.Method, Path: r.Path, Header: r.Header, Client: r.Client, Within: time.Until(deadline)})
	if err != nil {
		return nil, noAnswer("this cannot be passed on", err)
	}
	if x.sub, err = p.nc.SubscribeSync(reply); err != nil {
		return nil, noAnswer("this cannot be passed on", err)
	}
	msg := &nats.Msg{Subject: passSubject(p.destination), Reply: reply, Header: nats.Header{hdrPass: {string(call)}}, Data: r.Body}
	if err := p.nc.PublishMsg(msg); err != nil {
		return nil, noAnswer("this cannot be passed on", err)
	}
	if err := p.begun(x); err != nil {
		return nil, err
	}
	return x.head()
}

// begun waits until a drain has the request.
func (p *passer) begun(x *exchange) error {
	soon, cancel := context.WithTimeout(x.ctx, passBegin)
	defer cancel()
	msg, err := x.sub.NextMsgWithContext(soon)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return relay.Refuse(relay.CodeAway, "no drain is connected that could ask")
	case err != nil && x.ctx.Err() == nil:
		p.quiet.Store(time.Now().Add(passQuiet).UnixNano())
		return noAnswer("the drain does not answer", err)
	case err != nil:
		return noAnswer("the drain does not answer", err)
	}
	if kind, err := readFrame(msg, 0); err != nil || kind != frameBegun {
		return asAway(err)
	}
	return nil
}

// exchange is one request under way, and the body of its answer (io.ReadCloser).
type exchange struct {
	ctx    context.Context //nolint:containedctx // io.Reader has no place for it
	sub    *nats.Subscription
	number int // of the last frame
	rest   []byte
	last   bool
	left   int64 // bytes that the answer may still have
	err    error
	end    func()
}

// head reads the first piece.
func (x *exchange) head() (*relay.PassAnswer, error) {
	msg, err := x.next()
	if err != nil {
		return nil, asAway(err)
	}
	var h passHead
	if err := json.Unmarshal([]byte(msg.Header.Get(hdrPassHead)), &h); err != nil {
		return nil, noAnswer("the drain's answer cannot be read", err)
	}
	if h.Status < 200 || h.Status > 599 || h.Length > x.left+int64(len(msg.Data)) {
		return nil, noAnswer("the drain's answer is not passed on", fmt.Errorf("status %d, %d bytes", h.Status, h.Length))
	}
	return &relay.PassAnswer{Status: h.Status, Header: relay.PassedOn(h.Header), Length: h.Length, Body: x}, nil
}

// next takes one piece, and lets the drain send another.
func (x *exchange) next() (*nats.Msg, error) {
	msg, err := x.sub.NextMsgWithContext(x.ctx)
	if err != nil {
		return nil, fmt.Errorf("the drain has not sent all of the answer: %w", err)
	}
	x.number++
	kind, err := readFrame(msg, x.number)
	switch {
	case err != nil:
		return nil, err
	case kind == frameBegun:
		return nil, errors.New("a drain begins twice")
	case int64(len(msg.Data)) > x.left:
		return nil, errors.New("the answer is larger than what is passed on")
	}
	x.left -= int64(len(msg.Data))
	x.rest, x.last = msg.Data, kind == frameEnd
	if msg.Reply != "" {
		if err := msg.Respond(nil); err != nil {
			return nil, err
		}
	}
	return msg, nil
}

func (x *exchange) Read(buf []byte) (int, error) {
	for len(x.rest) == 0 && x.err == nil {
		if x.last {
			x.err = io.EOF
			break
		}
		_, x.err = x.next()
	}
	if x.err != nil {
		return 0, x.err
	}
	n := copy(buf, x.rest)
	x.rest = x.rest[n:]
	return n, nil
}

// Close ends the exchange, once: a drain that still sends finds nobody.
func (x *exchange) Close() error {
	if x.end == nil {
		return nil
	}
	if x.sub != nil {
		_ = x.sub.Unsubscribe() // it may be gone with the connection
	}
	x.end()
	x.end = nil
	return nil
}

// gather reads an answer to its end, before the caller gets anything of it.
func (x *exchange) gather(a *relay.PassAnswer) error {
	body, err := io.ReadAll(x)
	if err != nil {
		return asAway(err)
	}
	if a.Length >= 0 && a.Length != int64(len(body)) {
		return noAnswer("the drain's answer did not come whole", fmt.Errorf("%d of %d bytes", len(body), a.Length))
	}
	a.Length, a.Body = int64(len(body)), io.NopCloser(bytes.NewReader(body))
	return x.Close()
}

// noAnswer is the one way to say that there is none.
func noAnswer(detail string, err error) error {
	return &relay.Error{Code: relay.CodeAway, Err: err, Detail: detail}
}

// asAway: what a drain says of itself stands; all else is that it gave no answer.
func asAway(err error) error {
	var told *relay.Error
	if errors.As(err, &told) {
		return err
	}
	return noAnswer("the drain gave no answer", err)
}

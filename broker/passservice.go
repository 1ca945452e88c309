package broker

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/theforeman/foreman-relay/relay"
)

// PassService is how a far drain answers what only its destination can answer.
type PassService struct {
	Passes []relay.Pass // these alone, whatever the edge asks for
	Passer relay.Passer // it bounds how many are asked at one time
	// Closed says why the destination is not asked at this moment; empty: it is.
	Closed func() string
}

// frameTimeout is how long the edge may take to want the next piece of an answer.
const frameTimeout = 30 * time.Second

// maxAnswering bounds the requests that a drain has in hand, answered or refused:
// an edge that asks for more is not its own.
const maxAnswering = 256

// answering is the service under way.
type answering struct {
	PassService
	c      *Channel
	ctx    context.Context //nolint:containedctx // of every exchange; it ends with the service
	places chan struct{}
	wg     sync.WaitGroup
}

// ServePasses answers until the function is called that it returns. Drains of one
// destination share the requests.
func (c *Channel) ServePasses(o PassService) (stop func(), err error) {
	ctx, cancel := context.WithCancel(context.Background())
	a := &answering{PassService: o, c: c, ctx: ctx, places: make(chan struct{}, maxAnswering)}
	sub, err := c.nc.QueueSubscribe(passSubject(c.destination), "drains", a.take)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("listen for what is to be passed on: %w", err)
	}
	return func() {
		_ = sub.Unsubscribe() // the connection is closed next
		cancel()
		a.wg.Wait()
	}, nil
}

// take says that the request is here, and answers it beside the next ones.
func (a *answering) take(msg *nats.Msg) {
	select {
	case a.places <- struct{}{}:
	default: // the edge is told by silence
		return
	}
	a.wg.Go(func() {
		defer func() { <-a.places }()
		if err := a.answer(msg); err != nil && a.ctx.Err() == nil {
			a.c.log.Warn().Err(err).Msg("what the edge asked for was not passed on")
		}
	})
}

// answer handles one request from begun to the last frame.
func (a *answering) answer(msg *nats.Msg) error {
	begun, err := newFrame(msg.Reply, frameBegun, 0, nil, nil)
	if err != nil {
		return err
	}
	if err := a.c.nc.PublishMsg(begun); err != nil {
		return err
	}
	pass, r, within, err := a.read(msg)
	if err != nil {
		a.fail(msg.Reply, noAnswer("the drain does not pass this on", nil))
		return err
	}
	ctx, cancel := context.WithTimeout(a.ctx, min(within, pass.Timeout))
	defer cancel()
	answer, err := a.ask(ctx, pass, r)
	if err != nil {
		a.fail(msg.Reply, err)
		return err
	}
	defer func() { _ = answer.Body.Close() }() // whatever of it counts was read
	if err := a.send(ctx, msg.Reply, answer); err != nil {
		a.fail(msg.Reply, noAnswer("the answer broke off", nil))
		return err
	}
	return nil
}

// read takes a request apart and holds it against the drain's own list.
func (a *answering) read(msg *nats.Msg) (pass relay.Pass, r relay.PassRequest, within time.Duration, err error) {
	var call passCall
	if err := json.Unmarshal([]byte(msg.Header.Get(hdrPass)), &call); err != nil {
		return pass, r, 0, fmt.Errorf("the edge's request cannot be read: %w", err)
	}
	i := slices.IndexFunc(a.Passes, func(p relay.Pass) bool { return p.Name == call.Name })
	if i < 0 {
		return pass, r, 0, fmt.Errorf("%q is not on the list", relay.Excerpt([]byte(call.Name)))
	}
	if _, err := netip.ParseAddr(call.Client); err != nil {
		return pass, r, 0, errors.New("it does not say which address it comes from")
	}
	r = relay.PassRequest{Method: call.Method, Path: call.Path, Header: call.Header, Body: msg.Data, Client: call.Client}
	return a.Passes[i], r, call.Within, a.Passes[i].Permits(r)
}

func (a *answering) ask(ctx context.Context, pass relay.Pass, r relay.PassRequest) (*relay.PassAnswer, error) {
	if why := a.Closed(); why != "" {
		return nil, relay.Refuse(relay.CodeAway, "%s", why)
	}
	return a.Passer.Pass(ctx, pass, r)
}

// send sends an answer in frames.
func (a *answering) send(ctx context.Context, to string, answer *relay.PassAnswer) error {
	var head any = passHead{Status: answer.Status, Header: answer.Header, Length: answer.Length}
	buf := make([]byte, frameSize)
	for number := 1; ; number++ {
		n, end, err := fill(answer.Body, buf)
		if err != nil {
			return err
		}
		kind := framePart
		if end {
			kind = frameEnd
		}
		frame, err := newFrame(to, kind, number, head, buf[:n])
		if err != nil {
			return err
		}
		head = nil
		if end {
			return a.c.nc.PublishMsg(frame)
		}
		if err := a.part(ctx, frame); err != nil {
			return err
		}
	}
}

// part sends a piece and waits until the edge has taken it.
func (a *answering) part(ctx context.Context, frame *nats.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, frameTimeout)
	defer cancel()
	frame.Reply = passTaken(a.c.destination, rand.Text())
	taken, err := a.c.nc.SubscribeSync(frame.Reply)
	if err != nil {
		return fmt.Errorf("listen for whether a piece of the answer is taken: %w", err)
	}
	defer func() { _ = taken.Unsubscribe() }() // it may be gone with the connection
	if err := a.c.nc.PublishMsg(frame); err != nil {
		return fmt.Errorf("send a piece of the answer: %w", err)
	}
	if _, err := taken.NextMsgWithContext(ctx); err != nil {
		return fmt.Errorf("the edge does not take a piece of the answer: %w", err)
	}
	return nil
}

// fail tells the edge, if it is still there.
func (a *answering) fail(to string, err error) {
	frame, encodeErr := newFrame(to, frameFailed, 0, failureOf(err), nil)
	if encodeErr == nil {
		encodeErr = a.c.nc.PublishMsg(frame)
	}
	if encodeErr != nil {
		a.c.log.Debug().Err(encodeErr).Msg("the edge was not told that there is no answer")
	}
}

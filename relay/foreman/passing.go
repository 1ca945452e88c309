package foreman

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"github.com/theforeman/foreman-relay/relay"
)

// DefaultPassConcurrency is how many requests are passed on at one time. These
// are requests beside the attempts to deliver, which have a limit of their own.
const DefaultPassConcurrency = 16

// passPause is how long nobody is asked after a connection could not be made.
const passPause = 2 * time.Second

// passing bounds the requests that are passed on.
type passing struct {
	places *relay.PassPlaces
	// reach is open for a while after a connection could not be made, so that
	// not every caller waits for the same silence. Answers that do not come
	// leave it alone: a single template may do that.
	reach circuitbreaker.CircuitBreaker[any]
}

func newPassing(concurrency int) *passing {
	return &passing{places: relay.NewPassPlaces(cmp.Or(concurrency, DefaultPassConcurrency)),
		reach: circuitbreaker.NewBuilder[any]().WithFailureThreshold(1).WithDelay(passPause).Build()}
}

// enter takes a place, or says at once that there is none.
func (p *passing) enter(whole bool) (leave func(), err error) {
	if leave, err = p.places.Enter(whole); err != nil {
		return nil, err
	}
	if !p.reach.TryAcquirePermit() {
		leave()
		return nil, &relay.Error{Code: relay.CodeAway, RetryAfter: passPause, Detail: "Foreman could not be reached a moment ago"}
	}
	return leave, nil
}

func away(format string, args ...any) *relay.Error {
	return relay.Refuse(relay.CodeAway, format, args...)
}

// Pass asks Foreman while a caller waits (relay.Passer).
func (c *Client) Pass(ctx context.Context, p relay.Pass, r relay.PassRequest) (*relay.PassAnswer, error) {
	leave, err := c.passing.enter(p.Whole)
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, p.Timeout)
	end := func() { cancel(); leave() }
	resp, err := c.pass(limited, r, func() bool { return ctx.Err() != nil }) //nolint:bodyclose // the answer closes it, with its own body
	if err != nil {
		end()
		return nil, err
	}
	a := &relay.PassAnswer{Status: resp.StatusCode, Header: relay.PassedOn(resp.Header), Length: resp.ContentLength}
	a.Body = &bounded{src: resp.Body, left: limitOf(p, a.Status), end: end}
	if err := judge(p, resp.Header, a); err != nil {
		_ = a.Body.Close() // the error is what counts
		return nil, err
	}
	return a, nil
}

// pass makes the exchange up to the answer's headers; gone says whether the
// caller has given up.
func (c *Client) pass(ctx context.Context, r relay.PassRequest, gone func() bool) (*http.Response, error) {
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	req, err := c.passRequest(ctx, r)
	if err != nil {
		c.passing.reach.RecordSuccess() // Foreman had no part in it
		return nil, away("this cannot be passed on to Foreman: %s", err)
	}
	resp, err := c.out.Send(req)
	if connected.Load() || gone() { // who goes away shuts the door on nobody else
		c.passing.reach.RecordSuccess()
	} else {
		c.passing.reach.RecordFailure()
	}
	if err != nil {
		return nil, &relay.Error{Code: relay.CodeAway, Err: errors.New(relay.ErrorText(err)), Detail: "Foreman does not answer"}
	}
	return resp, nil
}

func (c *Client) passRequest(ctx context.Context, r relay.PassRequest) (*http.Request, error) {
	target, err := c.out.Target(r.Path)
	if err != nil {
		return nil, errors.New("its path is not one of Foreman's") // err repeats the path
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, target, bytes.NewReader(r.Body))
	if err != nil {
		return nil, errors.New("it is no request") // as above
	}
	if r.Header != nil {
		req.Header = r.Header.Clone()
	}
	req.Header.Set("User-Agent", c.options.UserAgent)
	req.Header.Set("X-Forwarded-For", r.Client)
	return req, nil
}

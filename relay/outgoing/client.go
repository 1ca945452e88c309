package outgoing

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"

	"github.com/theforeman/foreman-relay/relay"
)

// Client makes requests to one destination.
type Client struct {
	options       Options
	base          *url.URL
	http          *http.Client
	authorization string // value of the header; empty: none

	bare       *http.Client   // without a certificate
	configured map[string]way // by organization
}

// URL is the destination's own; it holds nothing secret.
func (c *Client) URL() *url.URL { return c.base }

// Options are those of the client, completed.
func (c *Client) Options() Options { return c.options }

// Close closes the connections that are kept for use again.
func (c *Client) Close() {
	c.http.CloseIdleConnections()
	c.closeWays()
}

// Conversion makes what is sent of a message; an error means that this will never
// succeed, unless ctx has ended or it wraps a BodyError.
type Conversion func(ctx context.Context, m *relay.Message) (Delivery, error)

// Deliver makes one attempt, within the attempt timeout: convert, send, judge.
func (c *Client) Deliver(ctx context.Context, m *relay.Message, convert Conversion, judge func(relay.Answer) relay.Result) relay.Result {
	ctx, cancel := context.WithTimeout(ctx, c.options.AttemptTimeout)
	defer cancel()
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	d, err := convert(ctx, m)
	if ctx.Err() != nil { // nothing was sent; the next attempt may have more time
		return relay.Result{Class: relay.ClassTransient, Reason: relay.ReasonTimeout, Detail: "the message was not converted within the time of an attempt"}
	}
	var req *http.Request
	by, done, wrong := c.wayOf(m)
	defer done()
	if err = errors.Join(err, wrong); err == nil {
		req, err = c.request(ctx, m, d)
	}
	var unread *BodyError
	if errors.As(err, &unread) {
		return unread.result()
	}
	if err != nil {
		return relay.Result{Class: relay.ClassRejected, Reason: relay.ReasonRejected, Detail: relay.Excerpt([]byte(err.Error()))}
	}
	by.authorize(req)
	answer := c.exchange(by.http, req)
	answer.Sent = sent.Load() && !errors.Is(answer.Err, errProxyRefuses) // it has passed nothing on
	if errors.As(d.Large.failure(), &unread) && unread.outweighs(answer) {
		return unread.result()
	}
	r := by.judge(judge(answer), answer)
	r.Detail = relay.Credentials{Authorization: req.Header.Get("Authorization")}.Withhold(r.Detail)
	return r
}

// Do makes the exchange and reads what is needed of the answer.
func (c *Client) Do(req *http.Request) relay.Answer { return c.exchange(c.http, req) }

func (c *Client) exchange(client *http.Client, req *http.Request) relay.Answer {
	resp, err := c.send(client, req)
	if err != nil {
		return relay.Answer{Err: err}
	}
	defer func() { _ = resp.Body.Close() }() // what was read counts
	if refused := resp.StatusCode == http.StatusProxyAuthRequired; refused && c.options.Proxy != "" {
		// The proxy of plain HTTP answers in the destination's place; else see proxyAnswer.
		return relay.Answer{Err: errProxyRefuses}
	}
	if resp.StatusCode < 200 { // 101: its body is the connection, which no deadline ends
		return relay.Answer{Status: resp.StatusCode, Header: resp.Header}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, c.options.MaxAnswer))
	if err != nil && resp.StatusCode <= 299 {
		// Only the rest of the page is missing; the status was said.
		err = nil
	}
	_, _ = io.CopyN(io.Discard, resp.Body, maxDrain) // so that the connection can be used again
	return relay.Answer{Status: resp.StatusCode, Header: resp.Header, Body: body, Err: err}
}

// Send makes the exchange up to the answer's headers; the caller bounds what it
// reads of the body, and closes it. relay.ErrorText tells an error without the
// URL in it.
func (c *Client) Send(req *http.Request) (*http.Response, error) { return c.send(c.http, req) }

func (c *Client) send(client *http.Client, req *http.Request) (*http.Response, error) {
	var used atomic.Bool
	ctx := httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { used.Store(i.Reused) }})
	resp, err := client.Do(req.WithContext(ctx))
	if err != nil && !used.Load() {
		return nil, c.unopened(req.Context(), client, err)
	}
	return resp, err
}

package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

// Client is relay.Operator from the other side of the admin socket. Errors come
// back with the code they had there.
type Client struct {
	socket string
	http   *http.Client
}

// maxAdminAnswer bounds an answer of the admin API, in bytes.
const maxAdminAnswer = 256 << 20

// Dial makes a client; it connects when it is used.
func Dial(socket string) *Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		},
	}}}
}

// Close closes the client's connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Queues implements relay.Operator.
func (c *Client) Queues(ctx context.Context) (all []relay.QueueStatus, err error) {
	err = c.call(ctx, http.MethodGet, "/queues", &all)
	return all, err
}

// Queue implements relay.Operator.
func (c *Client) Queue(ctx context.Context, q relay.Queue) (s relay.QueueStatus, err error) {
	err = c.call(ctx, http.MethodGet, "/queues/"+url.PathEscape(q.Organization)+"/"+url.PathEscape(q.Destination), &s)
	return s, err
}

// Message implements relay.Operator.
func (c *Client) Message(ctx context.Context, id string) (s relay.MessageStatus, err error) {
	err = c.call(ctx, http.MethodGet, "/messages/"+url.PathEscape(id), &s)
	return s, err
}

// DeadLetters implements relay.Operator.
func (c *Client) DeadLetters(ctx context.Context, f relay.DeadLetterFilter) (letters []relay.DeadLetter, err error) {
	v := queueValues(f.Queue)
	if f.Limit != 0 {
		v.Set("limit", strconv.Itoa(f.Limit))
	}
	err = c.call(ctx, http.MethodGet, "/dead-letters?"+v.Encode(), &letters)
	return letters, err
}

// DeadLetter implements relay.Operator.
func (c *Client) DeadLetter(ctx context.Context, id string) (l relay.DeadLetter, err error) {
	err = c.call(ctx, http.MethodGet, "/dead-letters/"+url.PathEscape(id), &l)
	return l, err
}

// Replay implements relay.Operator.
func (c *Client) Replay(ctx context.Context, id string) (r relay.Receipt, err error) {
	err = c.call(ctx, http.MethodPost, "/dead-letters/"+url.PathEscape(id)+"/replay", &r)
	return r, err
}

// Discard implements relay.Operator.
func (c *Client) Discard(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, "/dead-letters/"+url.PathEscape(id), nil)
}

// Audit implements relay.Operator.
func (c *Client) Audit(ctx context.Context, q *relay.Queue) (reports []relay.AuditReport, err error) {
	err = c.call(ctx, http.MethodPost, "/audit?"+queueValues(q).Encode(), &reports)
	return reports, err
}

// Config is the effective configuration of the process that answers.
func (c *Client) Config(ctx context.Context) (v json.RawMessage, err error) {
	err = c.call(ctx, http.MethodGet, "/config", &v)
	return v, err
}

// Storage is how disk and store of the process that answers are.
func (c *Client) Storage(ctx context.Context) (s relay.Storage, err error) {
	err = c.call(ctx, http.MethodGet, "/storage", &s)
	return s, err
}

// Ready is nil when the process that answers takes requests.
func (c *Client) Ready(ctx context.Context) error {
	return c.exchange(ctx, http.MethodGet, "http://relay/readyz", nil)
}

// Version is the version of the process that answers.
func (c *Client) Version(ctx context.Context) (string, error) {
	var v struct {
		Version string `json:"version"`
	}
	err := c.call(ctx, http.MethodGet, "/version", &v)
	return v.Version, err
}

func queueValues(q *relay.Queue) url.Values {
	v := url.Values{}
	if q != nil {
		v.Set("queue", q.String())
	}
	return v
}

// call makes one exchange; the answer's JSON goes into v unless that is nil.
func (c *Client) call(ctx context.Context, method, path string, v any) error {
	return c.exchange(ctx, method, "http://relay"+adminPrefix+path, v)
}

func (c *Client) exchange(ctx context.Context, method, address string, v any) error {
	req, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return &relay.Error{Code: relay.CodeMalformed, Detail: "the request cannot be made", Err: err}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	defer func() { _ = resp.Body.Close() }() // what was read counts
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAdminAnswer))
	if err != nil {
		return c.unreachable(err)
	}
	if resp.StatusCode > 299 {
		return readProblem(resp.StatusCode, resp.Header, body)
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(body, v); err != nil {
		return &relay.Error{Code: relay.CodeInternal, Detail: "the relay's answer cannot be read", Err: err}
	}
	return nil
}

func (c *Client) unreachable(err error) error {
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return &relay.Error{Code: relay.CodeUnavailable, Err: err, Detail: "the relay on " + c.socket + " did not answer before the call was given up"}
	}
	return &relay.Error{Code: relay.CodeUnavailable, Err: err,
		Detail: "no relay answers on " + c.socket + "; start one with `foreman-relay serve`, or name its socket with --admin-socket"}
}

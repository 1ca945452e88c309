package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
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
	Timeout time.Duration // of each call; 0: as long as its context

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
	err = c.call(ctx, http.MethodGet, queuePath(q), &s)
	return s, err
}

// Enqueue puts one message into a queue. After CodeUnavailable the outcome is
// unknown; the same key is safe to send again.
func (c *Client) Enqueue(ctx context.Context, s relay.Submission) (r relay.Receipt, err error) {
	h := http.Header{}
	for name, value := range map[string]string{headerRoute: s.Route, headerPath: s.Path, headerKey: s.Key, headerOrderingKey: s.OrderingKey,
		headerNotBefore: s.NotBefore, headerExpires: s.Expires, headerPriority: s.Priority,
		"Content-Type": s.ContentType, "Content-Encoding": s.ContentEncoding} {
		if value == "" {
			continue
		}
		if err := headerFit(name, value, relay.MaxEnvelopeValue); err != nil { // else package http would refuse it without a reason
			return r, err
		}
		h.Set(name, value)
	}
	err = c.exchange(ctx, http.MethodPost, adminPrefix+queuePath(s.Queue)+"/messages", h, s.Body, &r)
	return r, err
}

// Pause implements relay.Operator.
func (c *Client) Pause(ctx context.Context, q relay.Queue, by, reason string) error {
	return c.call(ctx, http.MethodPost, queuePath(q)+"/pause?"+url.Values{"by": {by}, "reason": {reason}}.Encode(), nil)
}

// Resume implements relay.Operator.
func (c *Client) Resume(ctx context.Context, q relay.Queue) error {
	return c.call(ctx, http.MethodPost, queuePath(q)+"/resume", nil)
}

// Peek implements relay.Operator.
func (c *Client) Peek(ctx context.Context, q relay.Queue, o relay.PeekOptions) (list relay.MessageList, err error) {
	v := url.Values{}
	setLimit(v, o.Limit)
	if o.Body {
		v.Set("body", "true")
	}
	err = c.call(ctx, http.MethodGet, queuePath(q)+"/peek?"+v.Encode(), &list)
	return list, err
}

// Messages implements relay.Operator.
func (c *Client) Messages(ctx context.Context, f relay.MessageFilter) (list relay.MessageList, err error) {
	v := queueValues(f.Queue)
	for name, value := range map[string]string{"state": string(f.State), "route": f.Route, "host": f.Host} {
		if value != "" {
			v.Set(name, value)
		}
	}
	setTime(v, "since", f.Since)
	setLimit(v, f.Limit)
	err = c.call(ctx, http.MethodGet, "/messages?"+v.Encode(), &list)
	return list, err
}

// Message implements relay.Operator.
func (c *Client) Message(ctx context.Context, id string) (s relay.MessageStatus, err error) {
	err = c.call(ctx, http.MethodGet, "/messages/"+url.PathEscape(id), &s)
	return s, err
}

// Cancel implements relay.Operator.
func (c *Client) Cancel(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodPost, "/messages/"+url.PathEscape(id)+"/cancel", nil)
}

// Purge implements relay.Operator.
func (c *Client) Purge(ctx context.Context, q relay.Queue, f relay.PurgeFilter) (p relay.Purged, err error) {
	v := url.Values{}
	for name, value := range map[string]string{"route": f.Route, "host": f.Host} {
		if value != "" {
			v.Set(name, value)
		}
	}
	setTime(v, "before", f.Before)
	if f.From != 0 {
		v.Set("from", strconv.FormatUint(f.From, 10))
	}
	if f.DryRun {
		v.Set("dry-run", "true")
	}
	err = c.call(ctx, http.MethodPost, queuePath(q)+"/purge?"+v.Encode(), &p)
	return p, err
}

// Why implements relay.Operator.
func (c *Client) Why(ctx context.Context, id string) (e relay.Explanation, err error) {
	err = c.call(ctx, http.MethodGet, "/messages/"+url.PathEscape(id)+"/why", &e)
	return e, err
}

// DeadLetters implements relay.Operator.
func (c *Client) DeadLetters(ctx context.Context, f relay.DeadLetterFilter) (letters []relay.DeadLetter, err error) {
	v := queueValues(f.Queue)
	setTime(v, "since", f.Since)
	for _, condition := range f.Where {
		v.Add("where", condition.String())
	}
	setLimit(v, f.Limit)
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
func (c *Client) Audit(ctx context.Context, o relay.AuditOptions) (reports []relay.AuditReport, err error) {
	v := queueValues(o.Queue)
	if !o.Since.IsZero() {
		v.Set("since", o.Since.UTC().Format(time.RFC3339Nano))
	}
	err = c.call(ctx, http.MethodPost, "/audit?"+v.Encode(), &reports)
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
	return c.exchange(ctx, http.MethodGet, "/readyz", nil, nil, nil)
}

// Version is the version of the process that answers.
func (c *Client) Version(ctx context.Context) (string, error) {
	var v struct {
		Version string `json:"version"`
	}
	err := c.call(ctx, http.MethodGet, "/version", &v)
	return v.Version, err
}

func queuePath(q relay.Queue) string {
	return "/queues/" + url.PathEscape(q.Organization) + "/" + url.PathEscape(q.Destination)
}

func setLimit(v url.Values, n int) {
	if n != 0 {
		v.Set("limit", strconv.Itoa(n))
	}
}

func setTime(v url.Values, name string, t time.Time) {
	if !t.IsZero() {
		v.Set(name, t.UTC().Format(time.RFC3339Nano))
	}
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
	return c.exchange(ctx, method, adminPrefix+path, nil, nil, v)
}

// exchange is call with headers and a body, for any path.
func (c *Client) exchange(ctx context.Context, method, path string, h http.Header, content []byte, v any) error {
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Timeout)
		defer cancel()
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://relay"+path, bytes.NewReader(content))
	if err != nil {
		return &relay.Error{Code: relay.CodeMalformed, Detail: "the request cannot be made", Err: err}
	}
	maps.Copy(req.Header, h)
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

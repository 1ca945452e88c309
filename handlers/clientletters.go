package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/theforeman/foreman-relay/relay"
)

// The dead letters, from the other side of the admin socket.

// DeadLetters implements relay.Operator.
func (c *Client) DeadLetters(ctx context.Context, f relay.DeadLetterFilter) (letters []relay.DeadLetter, err error) {
	err = c.call(ctx, http.MethodGet, "/dead-letters?"+letterValues(f).Encode(), &letters)
	return letters, err
}

// Causes implements relay.Operator.
func (c *Client) Causes(ctx context.Context, f relay.DeadLetterFilter) (r relay.CauseReport, err error) {
	err = c.call(ctx, http.MethodGet, "/dead-letters/causes?"+letterValues(f).Encode(), &r)
	return r, err
}

func letterValues(f relay.DeadLetterFilter) url.Values {
	v := queueValues(f.Queue)
	setTime(v, "since", f.Since)
	for _, condition := range f.Where {
		v.Add("where", condition.String())
	}
	if f.After > 0 {
		v.Set("after", strconv.FormatUint(f.After, 10))
	}
	setLimit(v, f.Limit)
	return v
}

// DeadLetter implements relay.Operator.
func (c *Client) DeadLetter(ctx context.Context, id string) (l relay.DeadLetter, err error) {
	err = c.call(ctx, http.MethodGet, letterPath(id), &l)
	return l, err
}

// Replay implements relay.Operator.
func (c *Client) Replay(ctx context.Context, id string, e relay.Edit) (r relay.Receipt, err error) {
	err = c.send(ctx, letterPath(id)+"/replay", e, &r)
	return r, err
}

// Discard implements relay.Operator.
func (c *Client) Discard(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, letterPath(id), nil)
}

// ExportDeadLetter implements relay.Operator.
func (c *Client) ExportDeadLetter(ctx context.Context, id string) (x relay.ExportedLetter, err error) {
	err = c.call(ctx, http.MethodGet, letterPath(id)+"/export", &x)
	return x, err
}

// ImportDeadLetter implements relay.Operator.
func (c *Client) ImportDeadLetter(ctx context.Context, x relay.ExportedLetter) (done relay.ImportedLetter, err error) {
	err = c.send(ctx, "/dead-letters", x, &done)
	return done, err
}

func letterPath(id string) string { return "/dead-letters/" + url.PathEscape(id) }

// send posts a value as JSON, with < and > as they are: they may be part of what
// is set in a body.
func (c *Client) send(ctx context.Context, path string, v, reply any) error {
	var content bytes.Buffer
	e := json.NewEncoder(&content)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return &relay.Error{Code: relay.CodeMalformed, Detail: "the request cannot be made", Err: err}
	}
	return c.exchange(ctx, http.MethodPost, adminPrefix+path, http.Header{"Content-Type": {"application/json"}}, content.Bytes(), reply)
}

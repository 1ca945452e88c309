package outgoing

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/theforeman/foreman-relay/relay"
)

// Delivery is what is sent for a message: the message itself, or what the
// destination takes in its place.
type Delivery struct {
	Path, ContentType, ContentEncoding string
	Body                               []byte
	Large                              *LargeBody // nil: Body is all
}

// Unchanged sends a message as it was taken (Conversion).
func Unchanged(_ context.Context, m *relay.Message) (Delivery, error) {
	d := Delivery{Path: m.Path, ContentType: m.ContentType, ContentEncoding: m.ContentEncoding, Body: m.Body}
	if m.Object != "" {
		d.Large = &LargeBody{message: m}
	}
	return d, nil
}

func (c *Client) request(ctx context.Context, m *relay.Message, d Delivery) (*http.Request, error) {
	target, err := c.Target(d.Path)
	if err != nil {
		return nil, err
	}
	method := m.Method
	if method == "" {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(d.Body))
	if err != nil {
		return nil, err
	}
	if method == http.MethodGet { // without this, package http would send it again by itself
		req.Body, req.GetBody = io.NopCloser(bytes.NewReader(d.Body)), nil
	}
	if d.Large != nil {
		if err := d.Large.attach(req); err != nil {
			return nil, err
		}
	}
	return req, c.head(req, m, d)
}

// head writes the headers of a message.
func (c *Client) head(req *http.Request, m *relay.Message, d Delivery) error {
	headers := map[string]string{"Content-Type": d.ContentType, "Accept": m.Accept,
		"Content-Encoding": d.ContentEncoding, "X-Request-Id": m.RequestID, "User-Agent": c.options.UserAgent,
		"Relay-Message-Id": m.ID, "Authorization": c.authorization,
		"Accept-Language": "en", // what a 422 of Foreman means is known by its words, and it translates them
		// Spelled so that package http does not see it: a request with this header
		// it sends again by itself, and Foreman does not know the header.
		"idempotency-key": m.DeliveryKey()}
	for name, value := range m.Header {
		headers[http.CanonicalHeaderKey(name)] = value
	}
	for name, value := range headers {
		if strings.ContainsFunc(value, unfit) {
			return fmt.Errorf("the message's %s cannot be sent: %q", name, value)
		}
		if value != "" {
			req.Header[name] = []string{value}
		}
	}
	return nil
}

// Target is the URL of a path below the destination's own. A path never leads to
// another host.
func (c *Client) Target(path string) (string, error) {
	if path == "" {
		return c.base.String(), nil
	}
	rest, query, _ := strings.Cut(path, "?")
	u := *c.base
	u.RawQuery = strings.ReplaceAll(query, " ", "%20") // one would end the request line
	if err := relay.CheckPath(rest); err != nil {
		return "", err
	}
	plain, err := url.PathUnescape(rest)
	if err != nil {
		return "", fmt.Errorf("path %q: %w", rest, err)
	}
	u.Path = strings.TrimSuffix(c.base.Path, "/") + plain
	u.RawPath = strings.TrimSuffix(c.base.EscapedPath(), "/") + rest
	return u.String(), nil
}

package foreman

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

// Limits of an exchange with Foreman.
const (
	DefaultAttemptTimeout = 60 * time.Second // Foreman's own proxy_request_timeout
	maxAnswer             = 64 << 10         // bytes of an answer that are read for judging
	maxDrain              = 1 << 20          // bytes of an answer that are read to keep the connection
	maxAnswerHeader       = 64 << 10
	// idleTimeout is below Apache's default KeepAliveTimeout of 5 s: a request that
	// meets a closing connection is lost, and looks like an outage.
	idleTimeout = 4 * time.Second
)

// Options make a Client.
type Options struct {
	URL                       string // of Foreman, http or https
	CAFile, CertFile, KeyFile string // for https; the client certificate is how Foreman knows a proxy
	AttemptTimeout            time.Duration
	Connections               int // kept open for use again
	PassConcurrency           int // requests passed on at one time; 0: DefaultPassConcurrency
	UserAgent                 string
	// The registered smart proxy that a host's ARF reports are told to come from;
	// empty: Foreman takes the host's own.
	OpenSCAPProxyName, OpenSCAPProxyURL string
	Now                                 relay.Clock
	// Credentials are shown in place of the relay's own for the messages of an
	// organization.
	Credentials map[string]relay.Credentials
}

// Client delivers to one Foreman (relay.Destination). It follows no redirect,
// uses no proxy of the environment, and reads a bounded part of each answer.
type Client struct {
	options Options
	base    *url.URL
	http    *http.Client

	bare       *http.Client   // without a certificate
	configured map[string]way // by organization

	passing    *passing
	converting chan struct{} // held by the one conversion under way
}

// New checks the options and reads the certificates; an error names what is
// wrong with which.
func New(o Options) (*Client, error) {
	base, err := parseURL(o.URL)
	if err != nil {
		return nil, err
	}
	if o.AttemptTimeout == 0 {
		o.AttemptTimeout = DefaultAttemptTimeout
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	config, err := o.tls()
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second, Control: relay.DialGuard(base.Hostname())}
	c := &Client{options: o, base: base, passing: newPassing(o.PassConcurrency), converting: make(chan struct{}, 1), http: &http.Client{
		Transport: &http.Transport{DialContext: dialer.DialContext, TLSClientConfig: config,
			TLSHandshakeTimeout: 10 * time.Second, MaxIdleConnsPerHost: max(2, o.Connections), IdleConnTimeout: idleTimeout,
			MaxResponseHeaderBytes: maxAnswerHeader, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	return c, c.prepareWays()
}

func parseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, errors.New("the URL of Foreman cannot be read; write https://HOST[:PORT]") // err would repeat a password in it
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, fmt.Errorf("the URL of Foreman is %q; write https://HOST[:PORT]", u.Redacted())
	case u.User != nil:
		return nil, fmt.Errorf("the URL of Foreman holds a user (%s); Foreman knows a relay by its client certificate, give that instead", u.Redacted())
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("the URL of Foreman is %q; write it without query and fragment", u.Redacted())
	}
	return u, nil
}

func (o Options) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("CA of Foreman: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA of Foreman: %s holds no certificate in PEM", o.CAFile)
		}
	}
	if (o.CertFile == "") != (o.KeyFile == "") {
		return nil, errors.New("the client certificate for Foreman needs both its file and that of its key")
	}
	if o.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("client certificate for Foreman, %s and %s: %w", o.CertFile, o.KeyFile, err)
		}
		config.Certificates = []tls.Certificate{cert}
	}
	return config, nil
}

// Close closes the connections that are kept for use again.
func (c *Client) Close() {
	c.http.CloseIdleConnections()
	c.closeWays()
}

// Deliver makes one attempt.
func (c *Client) Deliver(ctx context.Context, m *relay.Message) relay.Result {
	ctx, cancel := context.WithTimeout(ctx, c.options.AttemptTimeout)
	defer cancel()
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	d, err := c.convert(ctx, m)
	if ctx.Err() != nil { // nothing was sent; the next attempt may have more time
		return relay.Result{Class: relay.ClassTransient, Reason: relay.ReasonTimeout, Detail: "the message was not converted within the time of an attempt"}
	}
	var req *http.Request
	if err == nil {
		req, err = c.request(ctx, m, d)
	}
	by, done, wrong := c.wayOf(m)
	defer done()
	err = errors.Join(err, wrong)
	var unread *bodyError
	if errors.As(err, &unread) {
		return unread.result()
	}
	if err != nil {
		return relay.Result{Class: relay.ClassRejected, Reason: relay.ReasonRejected, Detail: relay.Excerpt([]byte(err.Error()))}
	}
	if by.authorization != "" {
		req.Header.Set("Authorization", by.authorization)
	}
	answer := exchange(by.http, req)
	answer.Sent = sent.Load()
	if errors.As(d.large.failure(), &unread) && unread.outweighs(answer) {
		return unread.result()
	}
	return by.judge(Classify(m.Route, answer, c.options.Now()), answer)
}

func (c *Client) request(ctx context.Context, m *relay.Message, d delivery) (*http.Request, error) {
	target, err := c.target(d.path)
	if err != nil {
		return nil, err
	}
	method := m.Method
	if method == "" {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(d.body))
	if err != nil {
		return nil, err
	}
	if method == http.MethodGet { // without this, package http would send it again by itself
		req.Body, req.GetBody = io.NopCloser(bytes.NewReader(d.body)), nil
	}
	if d.large != nil {
		if err := d.large.attach(req); err != nil {
			return nil, err
		}
	}
	headers := map[string]string{"Content-Type": d.contentType, "Accept": m.Accept,
		"Content-Encoding": d.contentEncoding, "X-Request-Id": m.RequestID, "User-Agent": c.options.UserAgent,
		"Relay-Message-Id": m.ID,
		"Accept-Language":  "en", // what a 422 means is known by its words, and Foreman translates them
		// Spelled so that package http does not see it: a request with this header
		// it sends again by itself, and Foreman does not know the header.
		"idempotency-key": m.DeliveryKey()}
	for name, value := range m.Header {
		headers[http.CanonicalHeaderKey(name)] = value
	}
	for name, value := range headers {
		if strings.ContainsFunc(value, unfit) {
			return nil, fmt.Errorf("the message's %s cannot be sent: %q", name, value)
		}
		if value != "" {
			req.Header[name] = []string{value}
		}
	}
	return req, nil
}

// unfit: no header may hold it (RFC 9110, 5.5).
func unfit(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// target is the URL of a message's path below Foreman's own. A path never leads
// to another host.
func (c *Client) target(path string) (string, error) {
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

// do makes the exchange and reads what is needed of the answer.
func (c *Client) do(req *http.Request) relay.Answer { return exchange(c.http, req) }

func exchange(client *http.Client, req *http.Request) relay.Answer {
	resp, err := client.Do(req)
	if err != nil {
		return relay.Answer{Err: err}
	}
	defer func() { _ = resp.Body.Close() }() // what was read counts
	if resp.StatusCode < 200 {               // 101: its body is the connection, which no deadline ends
		return relay.Answer{Status: resp.StatusCode, Header: resp.Header}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil && resp.StatusCode <= 299 {
		// Only the rest of the page is missing; the status was said.
		err = nil
	}
	_, _ = io.CopyN(io.Discard, resp.Body, maxDrain) // so that the connection can be used again
	return relay.Answer{Status: resp.StatusCode, Header: resp.Header, Body: body, Err: err}
}

// Probe asks whether Foreman is there and has its database: the ping answers 200
// even without one.
func (c *Client) Probe(ctx context.Context) error {
	target, err := c.target("/api/v2/ping")
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	a := c.do(req)
	switch {
	case a.Err != nil:
		return errors.New(relay.ClassifyError(a).Detail)
	case a.Status != http.StatusOK:
		return fmt.Errorf("the ping is answered with %d", a.Status)
	case !hasVersion(a.Header):
		return errors.New("what answers the ping is not Foreman: no version header")
	}
	var ping struct {
		Results struct {
			Foreman struct {
				Database struct {
					Active bool `json:"active"`
				} `json:"database"`
			} `json:"foreman"`
		} `json:"results"`
	}
	if err := json.Unmarshal(a.Body, &ping); err != nil || !ping.Results.Foreman.Database.Active {
		return errors.New("the ping is answered by Foreman, but its database is not active")
	}
	return nil
}

package foreman

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/outgoing"
)

// DefaultAttemptTimeout is Foreman's own proxy_request_timeout.
const DefaultAttemptTimeout = outgoing.DefaultAttemptTimeout

// Options make a Client.
type Options struct {
	outgoing.Options // the client certificate is how Foreman knows a proxy

	PassConcurrency int // requests passed on at one time; 0: DefaultPassConcurrency
	// The registered smart proxy that a host's ARF reports are told to come from;
	// empty: Foreman takes the host's own.
	OpenSCAPProxyName, OpenSCAPProxyURL string
	Now                                 relay.Clock
}

// Client delivers to one Foreman (relay.Destination).
type Client struct {
	options Options
	out     *outgoing.Client

	passing    *passing
	converting chan struct{} // held by the one conversion under way
}

// New checks the options and reads the certificates; an error names what is
// wrong with which.
func New(o Options) (*Client, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Name = "Foreman"
	out, err := outgoing.New(o.Options)
	if err != nil {
		return nil, err
	}
	o.Options = out.Options()
	return &Client{options: o, out: out, passing: newPassing(o.PassConcurrency), converting: make(chan struct{}, 1)}, nil
}

// Close closes the connections that are kept for use again.
func (c *Client) Close() { c.out.Close() }

// Deliver makes one attempt.
func (c *Client) Deliver(ctx context.Context, m *relay.Message) relay.Result {
	return c.out.Deliver(ctx, m, c.convert, func(a relay.Answer) relay.Result { return Classify(m.Route, a, c.options.Now()) })
}

// Probe asks whether Foreman is there and has its database: the ping answers 200
// even without one.
func (c *Client) Probe(ctx context.Context) error {
	target, err := c.out.Target("/api/v2/ping")
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	a := c.out.Do(req)
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

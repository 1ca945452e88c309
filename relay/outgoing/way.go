package outgoing

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/theforeman/foreman-relay/relay"
)

// way is how an attempt reaches the destination: as the relay itself, or as somebody else,
// whose connections are never those of the relay.
type way struct {
	http          *http.Client
	authorization string // empty: none
	kind          wayKind
}

type wayKind int

const (
	ownWay        wayKind = iota
	configuredWay         // with what is configured for the organization
	passedWay             // with what the sender has passed
	standingWay           // with what Foreman's document has for the queue
)

// prepareWays makes those that attempts share.
func (c *Client) prepareWays() error {
	c.bare = c.clientAs(nil)
	c.configured = map[string]way{}
	for organization, credentials := range c.options.Credentials {
		w, err := c.wayAs(credentials, configuredWay)
		if err != nil {
			return fmt.Errorf("credentials of organization %q: %w", organization, err)
		}
		c.configured[organization] = w
	}
	return nil
}

// clientAs is a client with this certificate in place of the relay's; nil: with
// none.
func (c *Client) clientAs(pair *tls.Certificate) *http.Client {
	transport := c.http.Transport.(*http.Transport).Clone() //nolint:forcetypeassert // New made it
	transport.TLSClientConfig.Certificates = nil
	if pair != nil {
		transport.TLSClientConfig.Certificates = []tls.Certificate{*pair}
	}
	other := *c.http
	other.Transport = transport
	return &other
}

// errPlain: whoever is on the way could read them.
var errPlain = errors.New("credentials are not sent over plain HTTP: configure its https:// URL")

func (c *Client) wayAs(credentials relay.Credentials, kind wayKind) (way, error) {
	w := way{http: c.bare, authorization: credentials.Authorization, kind: kind}
	if c.base.Scheme != "https" && !c.staysHere() {
		return w, errPlain
	}
	if err := credentials.Check(); err != nil {
		return w, err
	}
	if len(credentials.Key) == 0 {
		return w, nil
	}
	pair, err := credentials.Pair()
	if err != nil {
		return w, err
	}
	w.http = c.clientAs(&pair)
	return w, nil
}

// staysHere: nothing that is sent leaves this machine, unless whoever it is sent to
// passes it on.
func (c *Client) staysHere() bool {
	ip := net.ParseIP(c.base.Hostname())
	return c.options.Proxy == "" && ip != nil && ip.IsLoopback()
}

// wayOf is the way for one attempt; done ends it. A certificate that was passed
// has connections of its own, which end with the attempt: they, and its key, serve
// nobody else.
func (c *Client) wayOf(m *relay.Message) (w way, done func(), err error) {
	done = func() {}
	if m.Credentials == nil {
		if w, ok := c.configured[m.Queue.Organization]; ok {
			return w, done, nil
		}
		return way{http: c.http}, done, nil
	}
	kind := passedWay
	if m.Standing {
		kind = standingWay
	}
	if w, err = c.wayAs(*m.Credentials, kind); err == nil && w.http != c.bare {
		done = w.http.CloseIdleConnections
	}
	return w, done, err
}

// authorize puts the way's own authorization in the place of the relay's.
func (w way) authorize(req *http.Request) {
	if w.kind == ownWay {
		return
	}
	req.Header.Del("Authorization")
	if w.authorization != "" {
		req.Header.Set("Authorization", w.authorization)
	}
}

func (c *Client) closeWays() {
	c.bare.CloseIdleConnections()
	for _, w := range c.configured {
		w.http.CloseIdleConnections()
	}
}

// judge takes a refusal of other credentials than the relay's own for what it is:
// no reason to open the circuit for all. What the sender has passed does not get
// better; what is configured is for an operator to mend, and what stands in
// Foreman's document may be mended where it was refused. Nor is it a reason to leave
// the destination alone that those have used up what they may: they wait themselves.
func (w way) judge(r relay.Result, a relay.Answer) relay.Result {
	if w.kind != ownWay && r.Reason == relay.ReasonThrottled {
		r.Class = relay.ClassNotReady
		return r
	}
	if w.kind == ownWay || r.Class != relay.ClassDenied || a.Err != nil && !relay.CertificateRefused(a.Err) {
		return r
	}
	r.Hold, r.Reason = 0, relay.ReasonUnauthorized
	if w.kind == passedWay {
		r.Class = relay.ClassRejected
		return r
	}
	r.Class = relay.ClassNotReady
	return r
}

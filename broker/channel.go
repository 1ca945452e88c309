package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/theforeman/foreman-relay/relay"
)

// Channel is the narrow way between a drain and the edge: all that a drain may
// do, in the same process and far away alike.
type Channel struct {
	destination string
	nc          *nats.Conn
	log         zerolog.Logger
	nudged      chan struct{}

	up atomic.Bool // asking the connection takes the lock that every publish takes

	mu     sync.Mutex
	link   context.Context // ends when the connection is lost, and is replaced
	lost   context.CancelFunc
	told   context.Context //nolint:containedctx // the connection on which the edge has answered last
	run    uint64          // of the edge, as it said then
	heard  chan struct{}   // closed when it has answered on this connection; nil: it never has, on none
	closed bool
	why    error // why the last try to connect failed
}

// errNoLink: there is no connection to the broker at this moment.
var errNoLink = errors.New("not connected to the broker")

// DialOptions make a far drain's connection.
type DialOptions struct {
	URL         string // tls://host:port
	Destination string
	CAFile      string
	CertFile    string
	KeyFile     string
	CRLFile     string // of the CA: an edge that is on it is not talked to; empty: none
	Log         zerolog.Logger
}

// reconnectWait is the pause between two tries to reach a broker that is away,
// with as much again of jitter.
const reconnectWait = 250 * time.Millisecond

// Dial connects a far drain to the broker of an edge. An edge that is away is a
// normal state: the connection is tried for ever, until Close.
func Dial(o DialOptions) (*Channel, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "tls" || u.Port() == "" {
		return nil, fmt.Errorf("broker address %q: write tls://HOST:PORT", o.URL)
	}
	link, err := openLinkTLS(o.CertFile, o.KeyFile, o.CAFile, o.CRLFile, o.Log)
	if err != nil {
		return nil, fmt.Errorf("for the broker: %w", err)
	}
	config, certificate, authorities := link.client()
	c := newChannel(o.Destination, o.Log)
	c.nc, err = nats.Connect(o.URL, append(c.options(), nats.Name("drain "+o.Destination),
		nats.Secure(config), nats.ClientTLSConfig(certificate, authorities), nats.TLSHandshakeFirst(), nats.RetryOnFailedConnect(true),
		nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(maxPings),
		nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait), nats.ReconnectJitter(reconnectWait, reconnectWait), nats.Timeout(5*time.Second),
		nats.IgnoreAuthErrorAbort())...)
	if err != nil {
		return nil, fmt.Errorf("connect to the broker at %s: %w", o.URL, err)
	}
	return c, c.listen()
}

// Connect is the channel of a drain in this process. It is closed by Close of
// the Channel, before Close of the Broker.
func (b *Broker) Connect(destination string) (*Channel, error) {
	kp := b.server.drains[destination]
	if kp == nil {
		return nil, fmt.Errorf("no queue is configured for destination %q", destination)
	}
	c := newChannel(destination, b.log)
	var err error
	if c.nc, err = b.server.connect("drain "+destination, kp, c.options()...); err != nil {
		return nil, err
	}
	return c, c.listen()
}

// listen waits for the edge to ask for a renewal.
func (c *Channel) listen() error {
	if c.nc.IsConnected() { // what the handlers say comes a little later
		c.up.Store(true)
	}
	_, err := c.nc.Subscribe(nudgeSubject(c.destination), func(*nats.Msg) {
		c.nudge()
	})
	if err != nil {
		c.nc.Close()
		return fmt.Errorf("listen to the edge: %w", err)
	}
	return nil
}

// nudge asks for a renewal at once; one brings all the news.
func (c *Channel) nudge() { signal(c.nudged) }

// Nudged tells when the edge asks for a renewal of the leases at once.
func (c *Channel) Nudged() <-chan struct{} { return c.nudged }

func newChannel(destination string, log zerolog.Logger) *Channel {
	c := &Channel{destination: destination, log: log, nudged: make(chan struct{}, 1)}
	c.link, c.lost = context.WithCancel(context.Background())
	return c
}

func (c *Channel) options() []nats.Option {
	return []nats.Option{
		nats.CustomInboxPrefix(inboxPrefix(c.destination)),
		nats.ConnectHandler(func(*nats.Conn) { c.up.Store(true) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			c.up.Store(false)
			c.relink()
			if err != nil {
				c.log.Warn().Err(err).Msg("the connection to the broker was lost; connecting again")
			}
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.why = err
		}),
		nats.ReconnectHandler(func(*nats.Conn) {
			c.up.Store(true)
			c.nudge() // nothing is read before the edge has said which run of it answers
			c.log.Info().Msg("connected to the broker again")
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if !c.isClosed() {
				c.log.Warn().Err(err).Msg("broker connection")
			}
		}),
	}
}

// relink ends all calls that wait for what will not come.
func (c *Channel) relink() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost()
	c.link, c.lost = context.WithCancel(context.Background())
	if c.told != nil {
		c.told, c.heard = nil, make(chan struct{})
	}
}

// hear notes which run of the edge answers on a connection.
func (c *Channel) hear(link context.Context, run uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link != link {
		return
	}
	if c.told == nil && c.heard != nil {
		close(c.heard)
	}
	c.told, c.run = link, run
}

// answering is the connection and the run of the edge on its other end. On a new
// connection it waits until the edge has said so: a message that is read before
// could be of another run than its reader believes. Who reads without a lease is
// told no run.
func (c *Channel) answering(ctx context.Context) (link context.Context, run uint64, err error) {
	for {
		c.mu.Lock()
		link, run, heard := c.link, c.run, c.heard
		known := c.told != nil || c.heard == nil
		c.mu.Unlock()
		if known {
			return link, run, nil
		}
		select {
		case <-heard:
		case <-link.Done():
			return nil, 0, errNoLink
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

func (c *Channel) linked() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link
}

// call bounds one request: by time, and by the connection it is made on.
func (c *Channel) call(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if !c.up.Load() {
		return nil, nil, c.noLink()
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	stop := context.AfterFunc(c.linked(), cancel)
	return ctx, func() { stop(); cancel() }, nil
}

// noLink says why there is no connection, where that is known.
func (c *Channel) noLink() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.why == nil:
		return errNoLink
	case errors.Is(c.why, nats.ErrAuthorization), strings.Contains(c.why.Error(), "Authorization Violation"):
		return fmt.Errorf("%w: it does not let this certificate in; one with the URI %s is needed", errNoLink, DrainUser(c.destination))
	default:
		return fmt.Errorf("%w: %w", errNoLink, c.why)
	}
}

func (c *Channel) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// Close ends the connection.
func (c *Channel) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.nc.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost()
}

// Lease asks the edge for the leases of the destination's queues.
func (c *Channel) Lease(ctx context.Context, r relay.LeaseRequest) (relay.LeaseReply, error) {
	var reply relay.LeaseReply
	body, err := json.Marshal(r)
	if err != nil {
		return reply, err
	}
	link := c.linked()
	ctx, cancel, err := c.call(ctx)
	if err != nil {
		return reply, err
	}
	defer cancel()
	if err := c.ask(ctx, leaseSubject(c.destination), body, &reply); err != nil {
		return reply, fmt.Errorf("ask the edge for leases: %w", err)
	}
	c.hear(link, reply.Run)
	return reply, nil
}

// ask is one question to the edge itself.
func (c *Channel) ask(ctx context.Context, subject string, body []byte, reply any) error {
	msg, err := c.nc.RequestWithContext(ctx, subject, body)
	if err != nil {
		return err
	}
	if refusal := msg.Header.Get(hdrRefusal); refusal != "" {
		return errors.New("it refuses: " + refusal)
	}
	if err := json.Unmarshal(msg.Data, reply); err != nil {
		return fmt.Errorf("its answer: %w", err)
	}
	return nil
}

// hdrRefusal says why the edge does not do what a drain asks for.
const hdrRefusal = "Relay-Error"

// Journal is one queue as the drain may see it.
func (c *Channel) Journal(q relay.Queue) (relay.Journal, error) {
	if err := CheckQueue(q); err != nil {
		return nil, err
	}
	return &journal{c: c, queue: q, token: q.Token(), stream: journalStream(q), ahead: newAhead(c.nc, journalStream(q))}, nil
}

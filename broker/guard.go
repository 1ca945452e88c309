package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	"github.com/rs/zerolog"
)

// ListenOptions open the broker to drains that dial in, over mutual TLS only.
type ListenOptions struct {
	Address  string // host:port
	CertFile string
	KeyFile  string
	// ClientCAFile signs the drains' certificates. A drain of a destination
	// carries DrainUser(destination) as URI.
	ClientCAFile string
	CRLFile      string // of that CA: which of them are revoked; empty: none
}

// The bounds of the port, for whoever reaches it, and for who is let in.
const (
	// maxConnections are all at one time, those that shake hands among them; one
	// more is closed at once.
	maxConnections = 128
	// maxOfDestination are those of the drains of one destination, of which one works
	// and others stand by. A cable that was cut leaves some for portPing and maxPings.
	maxOfDestination = 16
	// handshakeTimeout bounds the TLS handshake, and then the first words.
	handshakeTimeout = 5 * time.Second
	// maxControlLine bounds a line of the protocol, in bytes: subjects are short.
	maxControlLine = 4096
	// maxSubscriptions of one connection. A drain has one or two for each queue.
	maxSubscriptions = 16 << 10
	// maxPending is what may wait to be sent to one connection, in bytes; who does
	// not read it is cut off. The largest answer is batchBytes and a message.
	maxPending = 64 << 20
	// writeDeadline is how long a write to a connection may be stuck.
	writeDeadline = 10 * time.Second
	// portPing and maxPings find the end of a connection of which nothing tells: a
	// cable that was cut, a firewall that has forgotten it. A drain looks more often
	// (pingInterval): all its work waits for it.
	portPing     = 20 * time.Second
	pingInterval = 5 * time.Second
	maxPings     = 2
	// lookEvery is how often it is looked whether certificates still hold.
	lookEvery = 2 * time.Second
)

// bound sets the server's own bounds, for every connection.
func bound(opts *server.Options) {
	opts.MaxControlLine = maxControlLine
	opts.MaxSubs = maxSubscriptions
	opts.MaxPending = maxPending
	opts.MaxPayload = MaxMessage
	opts.WriteDeadline = writeDeadline
	opts.PingInterval, opts.MaxPingsOut = portPing, maxPings
}

// guard is the broker's port. nats-server itself has none: its permissions know
// where a connection may publish to, and nothing of the reply subject of a request,
// to which the broker then publishes in its own right (docs/decisions/0030). So the
// guard takes the connections, asks each for its certificate before a word of the
// protocol, gives it the user of its destination, and lets through only requests
// whose answers go to the drain itself.
type guard struct {
	listener net.Listener
	link     *linkTLS
	server   *embedded
	event    func(destination, subject string, data []byte) error // says why it is none of a drain's
	log      zerolog.Logger
	places   chan struct{}
	wg       sync.WaitGroup

	mu     sync.Mutex
	inside map[*tls.Conn]string // of which destination
	raw    map[net.Conn]bool
	closed bool
}

// openGuard takes the address; nobody is let in before serve.
func openGuard(ctx context.Context, o ListenOptions, log zerolog.Logger) (*guard, error) {
	if _, _, err := net.SplitHostPort(o.Address); err != nil {
		return nil, fmt.Errorf("broker listen address %q: write HOST:PORT: %w", o.Address, err)
	}
	link, err := openLinkTLS(o.CertFile, o.KeyFile, o.ClientCAFile, o.CRLFile, log)
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	g := &guard{link: link, log: log, places: make(chan struct{}, maxConnections), inside: map[*tls.Conn]string{}, raw: map[net.Conn]bool{}}
	g.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", o.Address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("broker address %s is in use: another program listens there; stop it, or give --broker-listen another address: %w", o.Address, err)
	case err != nil:
		return nil, fmt.Errorf("listen for drains on %s: %w; give --broker-listen an address of this machine", o.Address, err)
	}
	return g, nil
}

// serve lets drains in until close. event says why an event of a drain is none that
// a drain writes.
func (g *guard) serve(s *embedded, event func(destination, subject string, data []byte) error) {
	g.server, g.event = s, event
	g.wg.Go(func() {
		for {
			conn, err := g.listener.Accept()
			switch {
			case errors.Is(err, net.ErrClosed):
				return
			case err != nil: // no descriptors, or the like: it may pass
				g.log.Error().Err(err).Msg("a connection of a drain cannot be taken")
				time.Sleep(inProcessWait)
			default:
				g.take(conn)
			}
		}
	})
}

// take serves a connection beside the others, or closes it at once.
func (g *guard) take(conn net.Conn) {
	select {
	case g.places <- struct{}{}:
	default:
		g.log.Warn().Str("address", conn.RemoteAddr().String()).Int("connections", maxConnections).Msg("as many connections as may be come to the broker's port; one was closed")
		_ = conn.Close() // nothing was said yet
		return
	}
	g.wg.Go(func() {
		defer func() { <-g.places }()
		defer func() { _ = conn.Close() }() // it has ended
		if !g.note(conn) {
			return
		}
		defer g.forget(conn)
		if err := g.admit(conn); err != nil {
			g.log.Warn().Err(err).Str("address", conn.RemoteAddr().String()).Msg("a connection to the broker's port was refused or cut off")
		}
	})
}

// admit shakes hands and carries the connection until it ends. Its error is for
// the log: something was tried that may not be.
func (g *guard) admit(conn net.Conn) error {
	secure := tls.Server(conn, g.link.server())
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	defer cancel()
	if err := secure.HandshakeContext(ctx); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) { // somebody only looked
			return nil
		}
		return err
	}
	peer := secure.ConnectionState().PeerCertificates // there is one: it was demanded
	destination, user := g.user(peer[0])
	if user == nil {
		refuse(secure)
		return fmt.Errorf("the certificate %q names no destination of this edge by a URI like %s", peer[0].Subject, DrainUser("foreman"))
	}
	if !g.enter(secure, destination) {
		return fmt.Errorf("there are %d connections of drains of %s already, and no more are let in", maxOfDestination, destination)
	}
	defer g.leave(secure)
	if err := g.link.current().admits(peer); err != nil { // it was weeded while hands were shaken
		return err
	}
	inside, err := g.server.InProcessConn()
	if err != nil { // it is being started anew; the drain tries again
		return nil
	}
	defer func() { _ = inside.Close() }() // it has ended
	w := &wire{outside: secure, inside: inside, user: user, inbox: inboxPrefix(destination) + ".", events: eventsPrefix(destination),
		event: func(subject string, data []byte) error { return g.event(destination, subject, data) }}
	if err := w.run(); errors.Is(err, errForbidden) {
		return fmt.Errorf("the drain of %s: %w", destination, err)
	}
	return nil
}

// enter takes one of the places of a destination: its drains do not keep others' out.
func (g *guard) enter(conn *tls.Conn, destination string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	taken := 0
	for _, of := range g.inside {
		if of == destination {
			taken++
		}
	}
	if taken >= maxOfDestination {
		return false
	}
	g.inside[conn] = destination
	return true
}

func (g *guard) leave(conn *tls.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.inside, conn)
}

// user is who a certificate is for: the one URI of a destination of this edge.
func (g *guard) user(leaf *x509.Certificate) (destination string, user nkeys.KeyPair) {
	for _, uri := range leaf.URIs {
		name, ours := strings.CutPrefix(uri.String(), DrainUser(""))
		if !ours {
			continue
		}
		if user != nil { // two in one: whose it is, nobody can say
			return "", nil
		}
		destination, user = name, g.server.drains[name]
	}
	return destination, user
}

// watch ends the connections of drains that would not be let in any more: CA or
// revocations have changed, or a certificate has run out. A drain that has a new one
// comes back with it.
func (g *guard) watch(ctx context.Context) {
	every := time.NewTicker(lookEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		case <-g.link.change:
		}
		g.weed(g.link.current())
	}
}

func (g *guard) weed(m *linkMaterial) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for conn := range g.inside {
		if err := m.admits(conn.ConnectionState().PeerCertificates); err != nil {
			g.log.Warn().Err(err).Str("address", conn.RemoteAddr().String()).Msg("a drain's certificate holds no more; it was cut off")
			_ = conn.NetConn().Close() // its own goroutine tidies up
		}
	}
}

func (g *guard) note(conn net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.raw[conn] = true
	return !g.closed
}

func (g *guard) forget(conn net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.raw, conn)
}

// address is where drains dial to.
func (g *guard) address() string { return g.listener.Addr().String() }

// close lets go of the address and ends every connection.
func (g *guard) close() {
	g.mu.Lock()
	g.closed = true
	_ = g.listener.Close() // its end is what serve waits for
	for conn := range g.raw {
		_ = conn.Close() // that is what it is for
	}
	g.mu.Unlock()
	g.wg.Wait()
}

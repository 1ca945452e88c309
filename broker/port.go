package broker

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"

	"github.com/theforeman/foreman-relay/relay"
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
	// maxConnections are all at one time, shaking hands and those of this process
	// among them.
	maxConnections = 128
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
	// lookEvery is how often it is looked whether certificates were revoked.
	lookEvery = 2 * time.Second
)

// bound sets the bounds that hold with and without a port.
func bound(opts *server.Options) {
	opts.MaxControlLine = maxControlLine
	opts.MaxSubs = maxSubscriptions
	opts.MaxPending = maxPending
	opts.MaxPayload = MaxMessage
	opts.WriteDeadline = writeDeadline
}

// apply opens a port for far drains: mutual TLS before a word of the protocol,
// the user taken from the certificate.
func (l *ListenOptions) apply(opts *server.Options, queues []relay.Queue, log zerolog.Logger) (*linkTLS, error) {
	host, port, err := net.SplitHostPort(l.Address)
	if err != nil {
		return nil, fmt.Errorf("broker listen address %q: write HOST:PORT: %w", l.Address, err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("broker listen address %q: the port is not a number", l.Address)
	}
	if number == 0 {
		number = server.RANDOM_PORT
	}
	link, err := openLinkTLS(l.CertFile, l.KeyFile, l.ClientCAFile, l.CRLFile, log)
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	opts.DontListen, opts.Host, opts.Port = false, host, number
	opts.TLS, opts.TLSVerify, opts.TLSMap, opts.TLSHandshakeFirst = true, true, true, true
	opts.TLSConfig = link.server()
	opts.TLSTimeout, opts.AuthTimeout = handshakeTimeout.Seconds(), handshakeTimeout.Seconds()
	opts.MaxConn = maxConnections
	opts.PingInterval, opts.MaxPingsOut = portPing, maxPings
	outside := map[string]struct{}{jwt.ConnectionTypeStandard: {}}
	for _, destination := range destinations(queues) {
		opts.Users = append(opts.Users, &server.User{Username: DrainUser(destination),
			Permissions: drainPermissions(destination, queues), AllowedConnectionTypes: outside})
	}
	return link, nil
}

// watchLink has the drains shake hands again when the CA or its revocations have
// changed: who is let in no more is out then.
func (e *embedded) watchLink(ctx context.Context) {
	if e.link == nil {
		return
	}
	every := time.NewTicker(lookEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
			e.link.current()
		case <-e.link.change:
			e.dropOutside()
		}
	}
}

// dropOutside ends every connection over the port.
func (e *embedded) dropOutside() {
	s := e.current.Load()
	if s == nil { // nobody is connected
		return
	}
	conns, err := s.Connz(&server.ConnzOptions{Limit: maxConnections})
	if err != nil {
		e.log.Error().Err(err).Msg("the drains cannot be made to show their certificates again")
		return
	}
	for _, c := range conns.Conns {
		if c.TLSVersion != "" {
			_ = s.DisconnectClientByID(c.Cid) // it may have gone by itself
		}
	}
	e.log.Info().Msg("the broker's CA or its revocations have changed: the drains have to show their certificates again")
}

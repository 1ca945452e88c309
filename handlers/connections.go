package handlers

import (
	"crypto/tls"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// ConnectionLimits bound the connections of a server, and what one may cost before there is a
// request on it.
type ConnectionLimits struct {
	Connections   int           // at one time; more are closed at once. 0: no bound
	PerAddress    int           // of these, from one address, or one /64 of IPv6; 0: no bound
	HeaderTimeout time.Duration // of a TLS handshake, and of the headers of each request
	IdleTimeout   time.Duration // between two requests
	MaxHeader     int           // bytes of a request's headers
	Streams       int           // requests at one time on one connection of HTTP/2
}

// DefaultConnectionLimits suits an edge of some ten thousand hosts, of which many may come
// through one address.
func DefaultConnectionLimits() ConnectionLimits {
	return ConnectionLimits{Connections: 4096, PerAddress: 1024, HeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeader: 32 << 10, Streams: 250}
}

const (
	// writeTimeout is how long a request may take from its headers to the end of its answer.
	writeTimeout = 2 * time.Minute
	// A peer of HTTP/2 that is silent is asked whether it is there, and one that
	// takes nothing is cut: the streams on it would wait for ever.
	pingAfter   = 30 * time.Second
	pingTimeout = 15 * time.Second
	takeTimeout = 30 * time.Second
)

// Server is an HTTP server with these limits.
func (c ConnectionLimits) Server(h http.Handler, config *tls.Config, l zerolog.Logger) *http.Server {
	return &http.Server{Handler: h, TLSConfig: config, ReadHeaderTimeout: c.HeaderTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: c.IdleTimeout, MaxHeaderBytes: c.MaxHeader, ErrorLog: log.New(debugWriter{l}, "", 0),
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: c.Streams, SendPingTimeout: pingAfter, PingTimeout: pingTimeout, WriteByteTimeout: takeTimeout}}
}

// Why a connection is refused, as metrics have it.
const (
	refusedTotal   = "total"
	refusedAddress = "address"
)

// Listener lets as many connections in as may be open, and registers its
// metrics. Who is refused learns it at once: a queue of connections would fill
// with those who wait for nothing.
func (c ConnectionLimits) Listener(l net.Listener, r prometheus.Registerer) net.Listener {
	refused := counters("connections_refused_total", "Connections closed at once because as many as may be were open, in all or from that address.", "why")
	open := prometheus.NewGauge(prometheus.GaugeOpts{Name: "foreman_relay_connections", Help: "Connections of the edge that are open."})
	r.MustRegister(refused, open)
	refused.WithLabelValues(refusedTotal)
	refused.WithLabelValues(refusedAddress)
	return &boundListener{Listener: l, limits: c, refused: refused, open: open, from: map[netip.Prefix]int{}}
}

type boundListener struct {
	net.Listener
	limits  ConnectionLimits
	refused *prometheus.CounterVec
	open    prometheus.Gauge

	mu   sync.Mutex
	all  int
	from map[netip.Prefix]int // no entry is zero
}

// Accept returns the next connection that is let in.
func (l *boundListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := origin(c.RemoteAddr())
		why := l.enter(from)
		if why == "" {
			return &boundConn{Conn: c, leave: sync.OnceFunc(func() { l.leave(from) })}, nil
		}
		l.refused.WithLabelValues(why).Inc()
		_ = c.Close() // nothing was said on it
	}
}

func (l *boundListener) enter(from netip.Prefix) (refused string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.limits.Connections > 0 && l.all >= l.limits.Connections:
		return refusedTotal
	case l.limits.PerAddress > 0 && l.from[from] >= l.limits.PerAddress:
		return refusedAddress
	}
	l.all++
	l.from[from]++
	l.open.Set(float64(l.all))
	return ""
}

func (l *boundListener) leave(from netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.from[from]--; l.from[from] == 0 {
		delete(l.from, from)
	}
	l.open.Set(float64(l.all))
}

// origin is what counts as one address: of IPv6 a network of 64 bits, which one
// host may have for itself.
func origin(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(ip, bits).Masked()
}

// boundConn leaves once, whoever closes it.
type boundConn struct {
	net.Conn
	leave func()
}

func (c *boundConn) Close() error {
	c.leave()
	return c.Conn.Close()
}

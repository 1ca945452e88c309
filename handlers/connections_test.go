package handlers_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/handlers"
)

// bounded is a server whose connections are bound, on loopback.
type bounded struct {
	t        *testing.T
	address  string
	registry *prometheus.Registry
}

func serveBounded(t *testing.T, d handlers.ConnectionLimits, config *tls.Config, h http.HandlerFunc) *bounded {
	t.Helper()
	if h == nil {
		h = func(http.ResponseWriter, *http.Request) {}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	require.NoError(t, l.Close())
	l, err = net.Listen("tcp4", "0.0.0.0:"+port) // loopback has many addresses
	require.NoError(t, err)
	o := &bounded{t: t, address: "127.0.0.1:" + port, registry: prometheus.NewRegistry()}
	server, done := d.Server(h, config, zerolog.Nop()), make(chan error, 1)
	behind := d.Listener(l, o.registry)
	go func() {
		if config != nil {
			done <- server.ServeTLS(behind, "", "")
		} else {
			done <- server.Serve(behind)
		}
	}()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		require.ErrorIs(t, <-done, http.ErrServerClosed)
	})
	return o
}

// dial connects from an address of loopback.
func (o *bounded) dial(from string) net.Conn {
	o.t.Helper()
	c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 5 * time.Second}).Dial("tcp", o.address)
	require.NoError(o.t, err)
	o.t.Cleanup(func() { _ = c.Close() }) // perhaps again
	require.NoError(o.t, c.SetDeadline(time.Now().Add(20*time.Second)))
	return c
}

// answered asks on a connection; false: it was closed instead.
func answered(t *testing.T, c net.Conn) bool {
	t.Helper()
	_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: relay\r\n\r\n")
	if err != nil {
		return false
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		require.False(t, errors.Is(err, os.ErrDeadlineExceeded), "neither answered nor closed")
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// stall says half a request.
func (o *bounded) stall(from string) net.Conn {
	o.t.Helper()
	c := o.dial(from)
	_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: re")
	require.NoError(o.t, err)
	return c
}

// sum is the value of a family with this label, if it has one.
func (o *bounded) sum(name, label string) (sum float64) {
	o.t.Helper()
	families, err := o.registry.Gather()
	require.NoError(o.t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "foreman_relay_"+name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func TestMoreConnectionsThanMayBeAreClosedAtOnce(t *testing.T) {
	d := handlers.DefaultConnectionLimits()
	d.Connections, d.PerAddress = 2, 0
	o := serveBounded(t, d, nil, nil)
	a, b := o.dial("127.0.0.1"), o.dial("127.0.0.2")
	require.True(t, answered(t, a))
	require.True(t, answered(t, b))
	require.False(t, answered(t, o.dial("127.0.0.3")))
	require.True(t, answered(t, a), "who is in stays in")
	require.Equal(t, []float64{1, 0, 2}, []float64{o.sum("connections_refused_total", "total"), o.sum("connections_refused_total", "address"), o.sum("connections", "")})
	require.NoError(t, a.Close())
	require.Eventually(t, func() bool { return o.sum("connections", "") == 1 }, 5*time.Second, time.Millisecond)
	require.True(t, answered(t, o.dial("127.0.0.3")), "there is room again")
}

// Slow ones from one address fill what that address has, and keep nobody else out.
func TestSlowConnectionsOfOneAddressStarveNoOther(t *testing.T) {
	d := handlers.DefaultConnectionLimits()
	d.Connections, d.PerAddress = 8, 3
	o := serveBounded(t, d, nil, nil)
	for range 3 {
		o.stall("127.0.0.1")
	}
	require.False(t, answered(t, o.dial("127.0.0.1")))
	for range 3 {
		require.True(t, answered(t, o.dial("127.0.0.2")))
	}
	require.Equal(t, []float64{0, 1, 6}, []float64{o.sum("connections_refused_total", "total"), o.sum("connections_refused_total", "address"), o.sum("connections", "")})
}

// What never becomes a request is cut: half of the headers, half of a handshake,
// and a connection on which nothing is said any more.
func TestConnectionsThatStallAreCut(t *testing.T) {
	certFile, keyFile, _, _ := certificate(t)
	certificates, err := openCertificates(certFile, keyFile, "")
	require.NoError(t, err)
	cut := func(t *testing.T, c net.Conn) {
		t.Helper()
		_, err := io.Copy(io.Discard, c) // it may be told why
		require.False(t, errors.Is(err, os.ErrDeadlineExceeded), "it is still open")
	}
	short := handlers.DefaultConnectionLimits()
	short.HeaderTimeout, short.PerAddress = 100*time.Millisecond, 2

	t.Run("headers", func(t *testing.T) {
		o := serveBounded(t, short, nil, nil)
		a, b := o.stall("127.0.0.1"), o.stall("127.0.0.1")
		cut(t, a)
		cut(t, b)
		require.Eventually(t, func() bool { return o.sum("connections", "") == 0 }, 5*time.Second, time.Millisecond)
		require.True(t, answered(t, o.dial("127.0.0.1")), "their places are free again")
	})
	t.Run("handshake", func(t *testing.T) {
		o := serveBounded(t, short, certificates.TLS(), nil)
		silent, half := o.dial("127.0.0.1"), o.dial("127.0.0.1")
		_, err := half.Write([]byte{22, 3, 1, 2, 0, 1}) // the beginning of a ClientHello of 512 bytes
		require.NoError(t, err)
		cut(t, silent)
		cut(t, half)
	})
	t.Run("idle", func(t *testing.T) {
		idle := handlers.DefaultConnectionLimits()
		idle.IdleTimeout = 100 * time.Millisecond
		o := serveBounded(t, idle, nil, nil)
		c := o.dial("127.0.0.1")
		require.True(t, answered(t, c))
		cut(t, c)
	})
}

func TestHeadersAreBounded(t *testing.T) {
	d := handlers.DefaultConnectionLimits()
	d.MaxHeader = 4 << 10
	o := serveBounded(t, d, nil, nil)
	for size, want := range map[int]string{2 << 10: "200", 16 << 10: "431"} {
		c := o.dial("127.0.0.1")
		_, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: relay\r\nX: %s\r\n\r\n", strings.Repeat("x", size))
		require.NoError(t, err)
		line, err := bufio.NewReader(c).ReadString('\n')
		require.NoError(t, err)
		require.Contains(t, line, want)
	}
}

// A connection of HTTP/2 counts once, so what is at work on it is bounded, also for
// a client that sends requests and takes each back at once.
func TestStreamsAreBounded(t *testing.T) {
	certFile, keyFile, _, pool := certificate(t)
	certificates, err := openCertificates(certFile, keyFile, "")
	require.NoError(t, err)
	d := handlers.DefaultConnectionLimits()
	d.Streams = 3
	var mu sync.Mutex
	running, most := map[string]int{}, 0 // by connection: the client may give one up, and take another
	at := func(connection string, more int) {
		mu.Lock()
		defer mu.Unlock()
		running[connection] += more
		most = max(most, running[connection])
	}
	release := make(chan struct{})
	o := serveBounded(t, d, certificates.TLS(), func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/first" {
			return
		}
		at(r.RemoteAddr, 1)
		<-release
		at(r.RemoteAddr, -1)
	})
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true, MaxConnsPerHost: 1}
	defer transport.CloseIdleConnections()
	get := func(ctx context.Context, path string) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+o.address+path, nil)
		require.NoError(t, err)
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return err
		}
		require.Equal(t, 2, resp.ProtoMajor)
		return resp.Body.Close()
	}
	require.NoError(t, get(t.Context(), "/first")) // the limit is known from now on
	for range 8 {
		ctx, cancel := context.WithCancel(t.Context())
		trace := &httptrace.ClientTrace{WroteHeaders: cancel}
		require.Error(t, get(httptrace.WithClientTrace(ctx, trace), "/"))
		cancel()
	}
	var asking sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for range 8 {
		asking.Go(func() { _ = get(ctx, "/") }) // answered, or cut at the end
	}
	require.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return most >= 3 }, 10*time.Second, time.Millisecond)
	close(release)
	cancel()
	asking.Wait()
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, 3, most)
}

// One host of IPv6 has 2^64 addresses.
func TestANetworkOfIPv6CountsAsOneAddress(t *testing.T) {
	arriving := &arrivals{from: []string{"[2001:db8::1]:1", "[2001:db8::ffff:2]:1", "[2001:db8:0:1::1]:1", "[2001:db8::3]:1", "[::ffff:192.0.2.1]:1", "192.0.2.1:2", "192.0.2.2:1"}}
	l := handlers.ConnectionLimits{PerAddress: 1}.Listener(arriving, prometheus.NewRegistry())
	var in []string
	for {
		c, err := l.Accept()
		if err != nil {
			break
		}
		in = append(in, c.RemoteAddr().String())
	}
	require.Equal(t, []string{"[2001:db8::1]:1", "[2001:db8:0:1::1]:1", "192.0.2.1:1", "192.0.2.2:1"}, in)
	require.Equal(t, 3, arriving.closed)
}

// arrivals is a listener to which these have connected.
type arrivals struct {
	net.Listener
	from   []string
	closed int
}

func (a *arrivals) Accept() (net.Conn, error) {
	if len(a.from) == 0 {
		return nil, net.ErrClosed
	}
	address, err := net.ResolveTCPAddr("tcp", a.from[0])
	a.from = a.from[1:]
	return arrival{listener: a, from: address}, err
}

type arrival struct {
	net.Conn
	listener *arrivals
	from     *net.TCPAddr
}

func (a arrival) RemoteAddr() net.Addr { return a.from }
func (a arrival) Close() error         { a.listener.closed++; return nil }

package outgoing

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// names is a name service that gives one IPv4 address for every name.
type names struct {
	conn net.PacketConn
	mu   sync.Mutex
	ip   net.IP
}

func newNames(t *testing.T, ip net.IP) *names {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	n := &names{conn: conn, ip: ip}
	done := make(chan struct{})
	go func() { defer close(done); n.answer() }()
	t.Cleanup(func() {
		require.NoError(t, conn.Close())
		<-done
	})
	return n
}

func (n *names) lead(ip net.IP) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ip = ip
}

// answer speaks as much of RFC 1035 as the resolver needs: the question again, and
// for a question of type A one record that points to its name.
func (n *names) answer() {
	buf := make([]byte, 512)
	for {
		size, from, err := n.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		end := 12
		for end < size && buf[end] != 0 {
			end += int(buf[end]) + 1
		}
		end += 5
		if end > size {
			continue
		}
		isA := buf[end-3] == 1
		reply := append([]byte{buf[0], buf[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, buf[12:end]...)
		if isA {
			reply[7] = 1
			n.mu.Lock()
			reply = append(append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4), n.ip.To4()...)
			n.mu.Unlock()
		}
		_, _ = n.conn.WriteTo(reply, from)
	}
}

func (n *names) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", n.conn.LocalAddr().String())
	}}
}

// A name may lead elsewhere at the next connection; what counts is where it leads
// when it is dialled. The address that is allowed stays allowed, and no other.
func TestANameThatIsBoundAnew(t *testing.T) {
	here, port := &atomic.Int32{}, ""
	for range 20 { // one port on both addresses
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		_, port, err = net.SplitHostPort(l.Addr().String())
		require.NoError(t, err)
		inward, err := net.Listen("tcp", "127.0.0.2:"+port)
		if err != nil {
			require.NoError(t, l.Close())
			continue
		}
		for _, l := range []net.Listener{l, inward} {
			s := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { here.Add(1) })}
			s.SetKeepAlivesEnabled(false) // each attempt looks the name up
			done := make(chan struct{})
			go func() { defer close(done); _ = s.Serve(l) }()
			t.Cleanup(func() { require.NoError(t, s.Close()); <-done })
		}
		break
	}
	dns := newNames(t, local)
	d := service(t, Options{URL: "http://pulp.example.com:" + port, Resolver: dns.resolver(), Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	require.Equal(t, relay.ClassDelivered, d.Deliver(t.Context(), message()).Class)
	require.NoError(t, d.Probe(t.Context()))
	require.EqualValues(t, 2, here.Load())

	for _, inward := range []net.IP{net.IPv4(127, 0, 0, 2), net.IPv4(169, 254, 169, 254), net.IPv4(0, 0, 0, 0)} {
		dns.lead(inward)
		r := d.Deliver(t.Context(), message())
		require.Equal(t, []any{relay.ClassUnavailable, false}, []any{r.Class, r.Ambiguous})
		require.Contains(t, r.Detail, "pulp.example.com leads to "+inward.String())
		require.ErrorContains(t, d.Probe(t.Context()), "pulp.example.com leads to "+inward.String())
		require.EqualValues(t, 2, here.Load(), "nothing arrives at %s", inward)
	}
	dns.lead(local)
	require.Equal(t, relay.ClassDelivered, d.Deliver(t.Context(), message()).Class)
}

func TestParseAllow(t *testing.T) {
	all, err := ParseAllow([]string{"127.0.0.1", "10.1.2.3/16", "fd00::/8"})
	require.NoError(t, err)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/8")}, all)
	for _, wrong := range []string{"", "foreman.example.com", "10.0.0.0/33", "10.0.0"} {
		_, err := ParseAllow([]string{wrong})
		require.ErrorContains(t, err, "write 127.0.0.1 or", wrong)
	}
}

// A URL that no operator has written leads inward by no spelling: what is an
// inward address is refused at once, and a name when it is dialled.
func TestAnOutwardURL(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "127.8.8.8", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "localhost", "LOCALHOST.", "169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "0.0.0.0", "[::]", "224.0.0.1"} {
		_, err := New(Options{URL: "https://" + host + ":8443/in", Outward: true})
		require.ErrorContains(t, err, "unless the configuration of the relay says so", host)
	}
	for _, host := range []string{"hook.example.com", "10.0.0.1", "192.168.1.1", "[fd00::2]", "127.1", "2130706433"} { // the last two are names, for the resolver
		c, err := New(Options{URL: "https://" + host + "/in", Outward: true})
		require.NoError(t, err, host)
		c.Close()
	}
	dns := newNames(t, local)
	for _, host := range []string{"pulp.example.com", "sub.localhost.example.com"} {
		r := service(t, Options{URL: "http://" + host + ":1/", Resolver: dns.resolver(), Outward: true}).Deliver(t.Context(), message())
		require.Equal(t, relay.ClassUnavailable, r.Class)
		require.Contains(t, r.Detail, "leads to "+local.String(), "it was resolved, and not dialled")
	}
}

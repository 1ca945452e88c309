package outgoing

import (
	"crypto/tls"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// gateway is a forward proxy: it opens tunnels and passes plain requests on.
type gateway struct {
	*httptest.Server
	want string // Proxy-Authorization; empty: none is asked for

	mu  sync.Mutex
	saw []string // method and target of what came through
	wg  sync.WaitGroup
}

func newGateway(t *testing.T, want string) *gateway {
	t.Helper()
	g := &gateway{want: want}
	g.Server = httptest.NewServer(g)
	t.Cleanup(func() {
		g.CloseClientConnections()
		g.Close()
		g.wg.Wait()
	})
	return g
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	g.saw = append(g.saw, r.Method+" "+r.RequestURI)
	g.mu.Unlock()
	switch {
	case r.Header.Get("Proxy-Authorization") != g.want:
		w.WriteHeader(http.StatusProxyAuthRequired)
	case r.Method == http.MethodConnect:
		g.tunnel(w, r.RequestURI)
	default:
		r.RequestURI = ""
		r.Header.Del("Proxy-Authorization")
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_ = resp.Body.Close()
		w.WriteHeader(resp.StatusCode)
	}
}

func (g *gateway) tunnel(w http.ResponseWriter, target string) {
	far, err := net.Dial("tcp", target)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	near, rest, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = far.Close()
		return
	}
	_, _ = io.WriteString(near, "HTTP/1.1 200 OK\r\n\r\n")
	pipe := func(to, from net.Conn, r io.Reader) {
		_, _ = io.Copy(to, r)
		_, _ = to.Close(), from.Close()
	}
	g.wg.Go(func() { pipe(far, near, rest) })
	g.wg.Go(func() { pipe(near, far, far) })
}

func (g *gateway) requests() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]string{}, g.saw...)
}

// The proxy is the configured one, for this destination alone, and TLS is with the
// destination, not with it.
func TestAProxyIsUsedWhereItIsConfigured(t *testing.T) {
	ca := newAuthority(t)
	_, _, server := ca.issue("localhost", local)
	cert, key, _ := ca.issue("relay.example.com")
	major := make(chan int, 1)
	s := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{server}, ClientCAs: ca.pool, ClientAuth: tls.RequireAndVerifyClientCert}, true,
		func(_ http.ResponseWriter, r *http.Request) { major <- r.ProtoMajor })
	for _, http2 := range []bool{false, true} {
		g := newGateway(t, "")
		o := Options{URL: s.URL, CAFile: ca.file, CertFile: cert, KeyFile: key, HTTP2: http2}
		require.Equal(t, relay.ClassDelivered, service(t, o).Deliver(t.Context(), message()).Class)
		<-major
		require.Empty(t, g.requests())

		o.Proxy = g.URL
		require.Equal(t, relay.ClassDelivered, service(t, o).Deliver(t.Context(), message()).Class)
		require.Equal(t, http2, <-major == 2)
		require.Equal(t, []string{"CONNECT " + s.Listener.Addr().String()}, g.requests())
	}
}

func TestThePasswordOfAProxyIsForTheProxy(t *testing.T) {
	ca := newAuthority(t)
	_, _, server := ca.issue("localhost", local)
	header := make(chan http.Header, 1)
	h := func(_ http.ResponseWriter, r *http.Request) { header <- r.Header }
	g := newGateway(t, "Basic "+base64.StdEncoding.EncodeToString([]byte("edge:pass:word")))
	for _, s := range []*httptest.Server{serveTLS(t, &tls.Config{Certificates: []tls.Certificate{server}}, true, h), serve(t, h)} {
		o := Options{URL: s.URL, CAFile: ca.file, Proxy: g.URL, ProxyAuthorizationFile: secretFile(t, "edge:pass:word")}
		require.Equal(t, relay.ClassDelivered, service(t, o).Deliver(t.Context(), message()).Class)
		require.Empty(t, (<-header).Get("Proxy-Authorization"))

		o.ProxyAuthorizationFile = secretFile(t, "edge:guessed")
		d := service(t, o)
		r := d.Deliver(t.Context(), message())
		require.Equal(t, []any{relay.ClassUnavailable, false}, []any{r.Class, r.Ambiguous}, "no message dies of it")
		require.Contains(t, r.Detail, "proxy_authorization_file")
		require.NotContains(t, r.Detail, "guessed")
		require.ErrorContains(t, d.Probe(t.Context()), "proxy_authorization_file")
	}
	require.Len(t, g.requests(), 6)
}

func TestAProxyThatDoesNotGetThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	g := newGateway(t, "")
	r := service(t, Options{URL: "https://" + l.Addr().String(), Proxy: g.URL}).Deliver(t.Context(), message())
	require.Equal(t, []any{relay.ClassUnavailable, false}, []any{r.Class, r.Ambiguous})
	require.Contains(t, r.Detail, "the proxy answers 502")

	g.Close()
	r = service(t, Options{URL: "https://" + l.Addr().String(), Proxy: g.URL, ProxyAuthorizationFile: secretFile(t, "edge:password")}).Deliver(t.Context(), message())
	require.Equal(t, relay.ClassUnavailable, r.Class)
	require.Contains(t, r.Detail, "refused")
	require.NotContains(t, r.Detail, "password")
}

// A proxy is looked at when it is dialled, as a destination is.
func TestAProxyThatLeadsInward(t *testing.T) {
	g := newGateway(t, "")
	at, err := url.Parse(g.URL)
	require.NoError(t, err)
	names := newNames(t, local)
	r := service(t, Options{URL: "https://192.0.2.1", Proxy: "http://proxy.example.com:" + at.Port(), Resolver: names.resolver()}).Deliver(t.Context(), message())
	require.Contains(t, r.Detail, "proxy.example.com leads to 127.0.0.1, a loopback address")
	require.Empty(t, g.requests())
}

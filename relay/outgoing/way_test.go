package outgoing_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/cmd/pki"
	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/foreman"
	"github.com/theforeman/foreman-relay/relay/outgoing"
)

// seen is what a Foreman saw of one request.
type seen struct{ client, authorization string }

// waysBench is a Foreman over TLS that notes who comes.
type waysBench struct {
	dir    string
	url    string
	answer int

	mu  sync.Mutex
	all []seen
}

func newWaysBench(t *testing.T, auth tls.ClientAuthType) *waysBench {
	t.Helper()
	b := &waysBench{dir: filepath.Join(t.TempDir(), "pki"), answer: http.StatusCreated}
	_, err := pki.Init(b.dir, pki.Options{Now: time.Now(), Host: "sender.example.com"})
	require.NoError(t, err)
	pair, err := tls.LoadX509KeyPair(b.in("edge.crt"), b.in("edge.key"))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(b.read(t, "ca.crt")))
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		one := seen{authorization: r.Header.Get("Authorization")}
		if len(r.TLS.PeerCertificates) > 0 {
			one.client = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.all = append(b.all, one)
		w.Header().Set("Foreman_version", "3.14.0")
		w.WriteHeader(b.answer)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: auth, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
	b.url = s.URL
	return b
}

func (b *waysBench) in(name string) string { return filepath.Join(b.dir, name) }

func (b *waysBench) read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(b.in(name))
	require.NoError(t, err)
	return text
}

func (b *waysBench) last() seen { return b.all[len(b.all)-1] }

func (b *waysBench) client(t *testing.T, configured map[string]relay.Credentials) *foreman.Client {
	t.Helper()
	c, err := foreman.New(foreman.Options{Options: outgoing.Options{URL: b.url, CAFile: b.in("ca.crt"), CertFile: b.in("drain.crt"), KeyFile: b.in("drain.key"), Credentials: configured}})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func messageOf(organization string, c *relay.Credentials) *relay.Message {
	return &relay.Message{ID: "q-1", Queue: relay.Queue{Organization: organization, Destination: relay.ForemanDestination}, Route: "report",
		Path: "/api/config_reports", Body: []byte("{}"), ContentType: "application/json", Credentials: c}
}

// Passed comes before configured, and configured before the relay's own; nobody's
// connections and certificates are used for somebody else.
func TestWhoseCredentialsAreShown(t *testing.T) {
	b := newWaysBench(t, tls.VerifyClientCertIfGiven)
	host := relay.Credentials{Certificate: b.read(t, "host.crt"), Key: b.read(t, "host.key")}
	c := b.client(t, map[string]relay.Credentials{"ACME": {Authorization: "Bearer acme"}, "Certified": host})
	relayName := func() string {
		require.Equal(t, relay.ClassDelivered, c.Deliver(t.Context(), messageOf("default", nil)).Class)
		require.Empty(t, b.last().authorization)
		return b.last().client
	}
	own := relayName()
	require.NotEmpty(t, own)
	both := host
	both.Authorization = "Bearer mine"
	for name, c2 := range map[string]struct {
		m    *relay.Message
		want seen
	}{
		"configured authorization":         {messageOf("ACME", nil), seen{"", "Bearer acme"}},
		"configured certificate":           {messageOf("Certified", nil), seen{"sender.example.com", ""}},
		"passed authorization":             {messageOf("default", &relay.Credentials{Authorization: "Bearer mine"}), seen{"", "Bearer mine"}},
		"passed over configured":           {messageOf("ACME", &host), seen{"sender.example.com", ""}},
		"passed certificate and authority": {messageOf("default", &both), seen{"sender.example.com", "Bearer mine"}},
	} {
		r := c.Deliver(t.Context(), c2.m)
		require.Equal(t, relay.ClassDelivered, r.Class, "%s: %s", name, r.Detail)
		require.Equal(t, c2.want, b.last(), name)
		require.Equal(t, own, relayName(), "the relay's own afterwards: %s", name)
	}
}

// What somebody else's credentials are refused with is no reason to stop for all.
func TestARefusalIsTheirsWhoseCredentialsItWas(t *testing.T) {
	b := newWaysBench(t, tls.VerifyClientCertIfGiven)
	c := b.client(t, map[string]relay.Credentials{"ACME": {Authorization: "Bearer acme"}})
	passed := &relay.Credentials{Authorization: "Bearer mine"}
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		b.answer = status
		r := c.Deliver(t.Context(), messageOf("default", nil))
		require.Equal(t, relay.ClassDenied, r.Class)
		require.NotZero(t, r.Hold)
		r = c.Deliver(t.Context(), messageOf("ACME", nil))
		require.Equal(t, []any{relay.ClassNotReady, relay.ReasonUnauthorized, time.Duration(0)}, []any{r.Class, r.Reason, r.Hold}, "tried until its age")
		r = c.Deliver(t.Context(), messageOf("ACME", passed))
		require.Equal(t, []any{relay.ClassRejected, relay.ReasonUnauthorized, time.Duration(0)}, []any{r.Class, r.Reason, r.Hold}, "given up at once")
		standing := messageOf("ACME", passed)
		standing.Standing = true
		r = c.Deliver(t.Context(), standing)
		require.Equal(t, []any{relay.ClassNotReady, relay.ReasonUnauthorized, time.Duration(0)}, []any{r.Class, r.Reason, r.Hold}, "as what is configured")
		require.Equal(t, "Bearer mine", b.last().authorization)
	}
	b.answer = http.StatusTooManyRequests // how much one token may says nothing of the others
	r := c.Deliver(t.Context(), messageOf("default", nil))
	require.Equal(t, []any{relay.ClassTransient, relay.ReasonThrottled}, []any{r.Class, r.Reason}, "all leave it alone")
	for _, m := range []*relay.Message{messageOf("ACME", nil), messageOf("default", passed)} {
		r = c.Deliver(t.Context(), m)
		require.Equal(t, []any{relay.ClassNotReady, relay.ReasonThrottled}, []any{r.Class, r.Reason}, "this message waits, and no other")
	}
	b.answer = http.StatusServiceUnavailable
	require.NotEqual(t, relay.ClassRejected, c.Deliver(t.Context(), messageOf("ACME", passed)).Class, "an outage is one for all")
}

// A certificate that Foreman does not take is its sender's matter; one of Foreman's
// that we do not take is ours, whoever sends.
func TestACertificateThatIsNotTaken(t *testing.T) {
	b, strangers := newWaysBench(t, tls.RequireAndVerifyClientCert), filepath.Join(t.TempDir(), "pki")
	_, err := pki.Init(strangers, pki.Options{Now: time.Now(), Host: "stranger.example.com"})
	require.NoError(t, err)
	other := &waysBench{dir: strangers}
	stranger := &relay.Credentials{Certificate: other.read(t, "host.crt"), Key: other.read(t, "host.key")}
	r := b.client(t, nil).Deliver(t.Context(), messageOf("default", stranger))
	require.Equal(t, []any{relay.ClassRejected, relay.ReasonUnauthorized}, []any{r.Class, r.Reason}, r.Detail)

	wrong, err := foreman.New(foreman.Options{Options: outgoing.Options{URL: b.url, CAFile: filepath.Join(strangers, "ca.crt")}})
	require.NoError(t, err)
	t.Cleanup(wrong.Close)
	host := &relay.Credentials{Certificate: b.read(t, "host.crt"), Key: b.read(t, "host.key")}
	require.Equal(t, relay.ClassDenied, wrong.Deliver(t.Context(), messageOf("default", host)).Class)
}

func TestCredentialsAreNotSentInClear(t *testing.T) {
	_, err := foreman.New(foreman.Options{Options: outgoing.Options{URL: "http://foreman.example.com", Credentials: map[string]relay.Credentials{"ACME": {Authorization: "Bearer acme"}}}})
	require.ErrorContains(t, err, "plain HTTP")
	require.ErrorContains(t, err, "ACME")
	_, err = foreman.New(foreman.Options{Options: outgoing.Options{URL: "http://127.0.0.1:1", Proxy: "http://proxy.example.com:3128", Credentials: map[string]relay.Credentials{"ACME": {Authorization: "Bearer acme"}}}})
	require.ErrorContains(t, err, "plain HTTP", "to the proxy")
	c, err := foreman.New(foreman.Options{Options: outgoing.Options{URL: "http://foreman.example.com"}})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	r := c.Deliver(context.Background(), messageOf("default", &relay.Credentials{Authorization: "Bearer mine"}))
	require.Equal(t, relay.ClassRejected, r.Class)
	require.Contains(t, r.Detail, "plain HTTP")
	require.NotContains(t, r.Detail, "mine")
}

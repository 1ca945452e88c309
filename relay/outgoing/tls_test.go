package outgoing

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// What is spoken with a destination is what is configured for it, and a
// connection that cannot be so is none: nothing of a message gets out on it.
func TestTLSOfADestination(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	_, _, named := ours.issue("pulp.example.com")
	_, _, addressed := ours.issue("localhost", local)
	cert, key, _ := ours.issue("relay.example.com")
	strange, strangeKey, _ := theirs.issue("relay.example.com")

	demanding := func(c tls.Certificate) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{c}, ClientCAs: ours.pool, ClientAuth: tls.RequireAndVerifyClientCert}
	}
	plain := func(c tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{c}} }
	old := plain(addressed)
	old.MaxVersion = tls.VersionTLS12
	ancient := plain(addressed)
	ancient.MaxVersion = tls.VersionTLS11

	for name, c := range map[string]struct {
		server  *tls.Config
		options Options
		class   relay.Class
		detail  string
	}{
		"all is right":                       {plain(addressed), Options{CAFile: ours.file}, relay.ClassDelivered, ""},
		"signed by nobody who is known":      {plain(addressed), Options{CAFile: theirs.file}, relay.ClassDenied, "configure the CA"},
		"the system's authorities":           {plain(addressed), Options{}, relay.ClassDenied, "configure the CA"},
		"for another name":                   {plain(named), Options{CAFile: ours.file}, relay.ClassDenied, "is not for"},
		"for the name that is configured":    {plain(named), Options{CAFile: ours.file, ServerName: "pulp.example.com"}, relay.ClassDelivered, ""},
		"not for the name that is":           {plain(addressed), Options{CAFile: ours.file, ServerName: "pulp.example.com"}, relay.ClassDenied, `is not for "pulp.example.com"`},
		"1.2 where that is enough":           {old, Options{CAFile: ours.file}, relay.ClassDelivered, ""},
		"1.2 where 1.3 is demanded":          {old, Options{CAFile: ours.file, MinVersion: tls.VersionTLS13}, relay.ClassUnavailable, "protocol version"},
		"1.1, and a minimum that is too low": {ancient, Options{CAFile: ours.file, MinVersion: tls.VersionTLS10}, relay.ClassUnavailable, "protocol version"},
		"a certificate is demanded":          {demanding(addressed), Options{CAFile: ours.file}, relay.ClassDenied, "configure a client certificate"},
		"a stranger's certificate":           {demanding(addressed), Options{CAFile: ours.file, CertFile: strange, KeyFile: strangeKey}, relay.ClassDenied, "configure a client certificate"},
		"the right certificate":              {demanding(addressed), Options{CAFile: ours.file, CertFile: cert, KeyFile: key}, relay.ClassDelivered, ""},
	} {
		for _, http2 := range []bool{false, true} {
			var got atomic.Int32
			s := serveTLS(t, c.server.Clone(), http2, func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if c.server.ClientCAs != nil && (r.TLS == nil || r.TLS.PeerCertificates[0].Subject.CommonName != "relay.example.com") {
					return
				}
				got.Add(1)
			})
			o := c.options
			o.URL, o.HTTP2 = s.URL, http2
			r := service(t, o).Deliver(t.Context(), message())
			require.Equal(t, c.class, r.Class, "%s: %s", name, r.Detail)
			require.Contains(t, r.Detail, c.detail, name)
			require.Equal(t, r.Class == relay.ClassDelivered, got.Load() == 1, name)
			require.NotContains(t, r.Detail, "/hook", "an error holds no URL")
		}
	}
}

// A server that will not have our certificate is often faster than the first
// request, or closes while that is sent; its reason is told all the same.
func TestTheReasonOfAServerThatClosesAtOnce(t *testing.T) {
	ca := newAuthority(t)
	_, _, server := ca.issue("localhost", local)
	cert, key, _ := ca.issue("relay.example.com")
	early, reset, other := errors.New("http2: "+unestablished), &net.OpError{Op: "read", Err: syscall.ECONNRESET}, errors.New("something else")
	for _, http2 := range []bool{false, true} {
		s := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{server}, ClientCAs: ca.pool, ClientAuth: tls.RequireAndVerifyClientCert}, http2,
			func(http.ResponseWriter, *http.Request) { t.Error("nobody is let in") })
		d := service(t, Options{URL: s.URL, CAFile: ca.file, HTTP2: http2})
		for _, err := range []error{early, reset} {
			r := relay.ClassifyHTTP(relay.Answer{Err: d.unopened(t.Context(), d.http, err)}, time.Now())
			require.Equal(t, relay.ClassDenied, r.Class, r.Detail)
			require.Contains(t, r.Detail, "certificate required")
		}
		require.Equal(t, other, d.unopened(t.Context(), d.http, other))

		for _, nothing := range []Options{
			{URL: s.URL, CAFile: ca.file, CertFile: cert, KeyFile: key}, // it has nothing to say
			{URL: s.URL, Proxy: "http://127.0.0.1:1"},                   // a proxy is not asked
			{URL: "https://127.0.0.1:1"},                                // nobody is there any more
		} {
			nothing.HTTP2 = http2
			d := service(t, nothing)
			require.Equal(t, errUnestablished, d.unopened(t.Context(), d.http, early))
			require.Equal(t, error(reset), d.unopened(t.Context(), d.http, reset))
		}
		for range 30 { // whoever is faster
			r := d.Deliver(t.Context(), message())
			require.Equal(t, relay.ClassDenied, r.Class, r.Detail)
		}
	}
}

// Its reason is the one that it has for whoever was not let in: the relay's own
// certificate, which it takes, tells nothing of one that was passed.
func TestTheReasonIsForTheCertificateThatWasShown(t *testing.T) {
	ca, theirs := newAuthority(t), newAuthority(t)
	_, _, server := ca.issue("localhost", local)
	cert, key, _ := ca.issue("relay.example.com")
	strange, strangeKey, _ := theirs.issue("sender.example.com")
	passed := relay.Credentials{Certificate: readFile(t, strange), Key: readFile(t, strangeKey)}
	for _, http2 := range []bool{false, true} {
		s := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{server}, ClientCAs: ca.pool, ClientAuth: tls.RequireAndVerifyClientCert}, http2,
			func(http.ResponseWriter, *http.Request) { t.Error("nobody is let in") })
		d := service(t, Options{URL: s.URL, CAFile: ca.file, CertFile: cert, KeyFile: key, HTTP2: http2})
		for range 15 { // whoever is faster
			m := message()
			m.Body, m.Credentials = make([]byte, 1<<20), &passed
			r := d.Deliver(t.Context(), m)
			require.Equal(t, []any{relay.ClassRejected, relay.ReasonUnauthorized}, []any{r.Class, r.Reason}, r.Detail)
		}
	}
}

// A connection is one caller's: what was shown when it was opened holds for all
// that is sent on it. The relay's own is kept, one of a certificate that was passed
// ends with its attempt, though the next message has passed the same.
func TestNoConnectionIsSharedBetweenCertificates(t *testing.T) {
	ca := newAuthority(t)
	_, _, server := ca.issue("localhost", local)
	pass := func(name string) *relay.Credentials {
		cert, key, _ := ca.issue(name)
		return &relay.Credentials{Certificate: readFile(t, cert), Key: readFile(t, key)}
	}
	cert, key, _ := ca.issue("relay.example.com")
	one, two, ours := pass("one.example.com"), pass("two.example.com"), pass("acme.example.com")
	for _, http2 := range []bool{false, true} {
		type seen struct{ name, from string }
		all := make(chan seen, 1)
		s := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{server}, ClientCAs: ca.pool, ClientAuth: tls.VerifyClientCertIfGiven}, http2,
			func(_ http.ResponseWriter, r *http.Request) {
				name := ""
				if len(r.TLS.PeerCertificates) > 0 {
					name = r.TLS.PeerCertificates[0].Subject.CommonName
				}
				all <- seen{name, r.RemoteAddr}
			})
		d := service(t, Options{URL: s.URL, CAFile: ca.file, CertFile: cert, KeyFile: key, HTTP2: http2, Credentials: map[string]relay.Credentials{"ACME": *ours}})
		owner := map[string]string{}
		connections := map[string]int{}
		for range 3 {
			for _, c := range []struct {
				organization string
				passed       *relay.Credentials
				want         string
			}{{"default", nil, "relay.example.com"}, {"default", one, "one.example.com"}, {"ACME", nil, "acme.example.com"}, {"ACME", two, "two.example.com"},
				{"ACME", &relay.Credentials{Authorization: "Bearer t"}, ""}} {
				m := message()
				m.Queue.Organization, m.Credentials = c.organization, c.passed
				require.Equal(t, relay.ClassDelivered, d.Deliver(t.Context(), m).Class)
				got := <-all
				require.Equal(t, c.want, got.name)
				if _, known := owner[got.from]; !known {
					connections[got.name]++
				}
				require.Contains(t, []string{"", "of " + got.name}, owner[got.from])
				owner[got.from] = "of " + got.name
			}
		}
		require.Equal(t, map[string]int{"relay.example.com": 1, "acme.example.com": 1, "": 1, "one.example.com": 3, "two.example.com": 3}, connections)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return text
}

// Each destination is shown its own certificate.
func TestEachDestinationHasItsOwnCertificate(t *testing.T) {
	ca := newAuthority(t)
	_, _, server := ca.issue("localhost", local)
	seen := make(chan string, 2)
	s := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{server}, ClientCAs: ca.pool, ClientAuth: tls.RequireAndVerifyClientCert}, true,
		func(_ http.ResponseWriter, r *http.Request) { seen <- r.TLS.PeerCertificates[0].Subject.CommonName })
	for _, name := range []string{"one.example.com", "two.example.com"} {
		cert, key, _ := ca.issue(name)
		d := service(t, Options{URL: s.URL, CAFile: ca.file, CertFile: cert, KeyFile: key, HTTP2: true})
		require.Equal(t, relay.ClassDelivered, d.Deliver(t.Context(), message()).Class)
		require.Equal(t, name, <-seen)
	}
}

func TestHTTP2IsSpokenWhereBothSidesWill(t *testing.T) {
	ca := newAuthority(t)
	_, _, server := ca.issue("localhost", local)
	for _, c := range []struct {
		offered, wanted bool
		major           int
	}{{true, true, 2}, {true, false, 1}, {false, true, 1}} {
		major := make(chan int, 1)
		s := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{server}}, c.offered, func(_ http.ResponseWriter, r *http.Request) { major <- r.ProtoMajor })
		d := service(t, Options{URL: s.URL, CAFile: ca.file, HTTP2: c.wanted})
		require.Equal(t, relay.ClassDelivered, d.Deliver(t.Context(), message()).Class)
		require.Equal(t, c.major, <-major, "%+v", c)
	}
}

// One attempt is one request there too, and one whose stream was cut may have been
// processed.
func TestADroppedStreamIsOneAttempt(t *testing.T) {
	ca := newAuthority(t)
	_, _, server := ca.issue("localhost", local)
	var n atomic.Int32
	s := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{server}}, true, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if n.Add(1) > 1 {
			panic(http.ErrAbortHandler)
		}
	})
	d := service(t, Options{URL: s.URL, CAFile: ca.file, HTTP2: true})
	require.Equal(t, relay.ClassDelivered, d.Deliver(t.Context(), message()).Class)
	r := d.Deliver(t.Context(), message())
	require.Equal(t, []any{relay.ClassUnavailable, true}, []any{r.Class, r.Ambiguous}, r.Detail)
	require.EqualValues(t, 2, n.Load())
}

// Whatever a destination answers, only so much of it is read, and in no more time
// than an attempt has.
func TestAnswersAreBounded(t *testing.T) {
	ca := newAuthority(t)
	_, _, server := ca.issue("localhost", local)
	for _, http2 := range []bool{false, true} {
		answer := func(h http.HandlerFunc) relay.Answer {
			s := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{server}}, http2, h)
			d := service(t, Options{URL: s.URL, CAFile: ca.file, HTTP2: http2, MaxAnswer: 1 << 10})
			req, err := d.request(t.Context(), message(), Delivery{})
			require.NoError(t, err)
			return d.Do(req)
		}
		endless := make(chan error, 1)
		a := answer(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusConflict)
			for text := []byte(strings.Repeat("x", 4<<10)); ; {
				if _, err := w.Write(text); err != nil {
					endless <- err
					return
				}
			}
		})
		require.Equal(t, http.StatusConflict, a.Status)
		require.Len(t, a.Body, 1<<10)
		require.Error(t, <-endless, "the rest was not read")

		a = answer(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 2*maxAnswerHeader))
		})
		require.Error(t, a.Err, "headers")
		a = answer(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", maxAnswerHeader/2))
		})
		require.NoError(t, a.Err)
	}
}

// A destination that says no more in the middle of its answer.
func TestASlowAnswerEndsWithTheAttempt(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusConflict)
		_ = http.NewResponseController(w).Flush()
		<-release
	})
	defer close(release)
	r := service(t, Options{URL: s.URL, AttemptTimeout: 200 * time.Millisecond}).Deliver(t.Context(), message())
	require.Equal(t, []any{relay.ClassUnavailable, relay.ReasonTimeout, true}, []any{r.Class, r.Reason, r.Ambiguous})
}

package outgoing

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

func TestAServiceGetsWhatWasStored(t *testing.T) {
	var got *http.Request
	var body []byte
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusAccepted)
	})
	d := service(t, Options{URL: s.URL + "/sub/", AuthorizationFile: secretFile(t, "Bearer token-1")})
	require.Equal(t, relay.ClassDelivered, d.Deliver(t.Context(), message()).Class)
	require.Equal(t, `{"a":"b"}`, string(body))
	require.Equal(t, "/sub/hook?a=b%20c", got.URL.RequestURI())
	for name, want := range map[string]string{"Content-Type": "application/json", "X-Request-Id": "r1", "User-Agent": "test/1",
		"Idempotency-Key": "k", "Relay-Message-Id": "the-id", "Authorization": "Bearer token-1", "Accept-Encoding": ""} {
		require.Equal(t, want, got.Header.Get(name), name)
	}
	m := message()
	m.Path, m.Header = "", map[string]string{"x-tenant": "acme"}
	require.Equal(t, relay.ClassDelivered, d.Deliver(t.Context(), m).Class)
	require.Equal(t, []string{"/sub/", "acme"}, []string{got.URL.RequestURI(), got.Header.Get("X-Tenant")})
}

// What it answers is stored on the edge, which has no credentials of destinations:
// an answer that repeats some of what it was shown is kept back.
func TestAnAnswerThatRepeatsWhatItWasShown(t *testing.T) {
	ca := newAuthority(t)
	_, _, server := ca.issue("localhost", local)
	s := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{server}}, false, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = io.WriteString(w, "not for "+strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer s3"))
	})
	d := service(t, Options{URL: s.URL, CAFile: ca.file, AuthorizationFile: secretFile(t, "Bearer s3cr3t-of-the-relay"),
		Credentials: map[string]relay.Credentials{"ACME": {Authorization: "Bearer s3cr3t-of-acme"}, "Other": {Authorization: "Bearer s3"}}})
	for organization, passed := range map[string]*relay.Credentials{"default": nil, "ACME": nil, "Mine": {Authorization: "Bearer s3cr3t-of-mine"}} {
		m := message()
		m.Queue.Organization, m.Credentials = organization, passed
		r := d.Deliver(t.Context(), m)
		require.Equal(t, http.StatusUnprocessableEntity, r.Status, r.Detail)
		require.Contains(t, r.Detail, "kept back", organization)
		require.NotContains(t, r.Detail, "cr3t", organization)
	}
	m := message()
	m.Queue.Organization = "Other"
	require.Equal(t, "not for", d.Deliver(t.Context(), m).Detail, "what repeats nothing is told")
}

// A message goes nowhere but to the destination, with what it holds: a redirect is
// an answer, to an attempt and to a probe.
func TestNoRedirectIsFollowed(t *testing.T) {
	var hit atomic.Bool
	elsewhere := serve(t, func(http.ResponseWriter, *http.Request) { hit.Store(true) })
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+"/?token=secret", status)
		})
		d := service(t, Options{URL: s.URL, AuthorizationFile: secretFile(t, "Bearer token-1")})
		r := d.Deliver(t.Context(), message())
		require.Equal(t, relay.ClassRejected, r.Class)
		require.Contains(t, r.Detail, elsewhere.URL)
		require.NotContains(t, r.Detail, "secret")
		require.NoError(t, d.Probe(t.Context()))
	}
	require.False(t, hit.Load())
}

func TestProbeOfAService(t *testing.T) {
	for status, there := range map[int]bool{200: true, 204: true, 401: true, 404: true, 405: true, 500: true, 501: true, 502: false, 503: false, 504: false} {
		var asked atomic.Value
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			asked.Store(r.Method + " " + r.URL.Path + " " + r.Header.Get("Authorization"))
			w.WriteHeader(status)
		})
		d := service(t, Options{URL: s.URL + "/hook", AuthorizationFile: secretFile(t, "Bearer t")})
		require.Equal(t, there, d.Probe(t.Context()) == nil, status)
		require.Equal(t, "HEAD /hook Bearer t", asked.Load())
		d.Probed = "/status"
		require.Equal(t, there, d.Probe(t.Context()) == nil, status)
		require.Equal(t, "HEAD /hook/status Bearer t", asked.Load())
	}
	d := service(t, Options{URL: "http://127.0.0.1:1"})
	require.ErrorContains(t, d.Probe(t.Context()), "refused")
}

func TestNewSaysWhatIsWrong(t *testing.T) {
	nothing := filepath.Join(t.TempDir(), "nothing.pem")
	empty := filepath.Join(t.TempDir(), "empty.pem")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	open := secretFile(t, "Bearer secret")
	require.NoError(t, os.Chmod(open, 0o644))
	const there = "https://f.example.com"
	for want, o := range map[string]Options{
		"write https://":                {URL: "foreman.example.com"},
		"cannot be read; write https":   {URL: "https://admin:secret@foreman.example.com:%"},
		"holds a user":                  {URL: "https://admin:secret@foreman.example.com"},
		"without query":                 {URL: "https://foreman.example.com?token=secret"},
		"and fragment":                  {URL: "https://foreman.example.com#secret"},
		"nothing.pem":                   {URL: there, CAFile: nothing},
		"holds no certificate":          {URL: there, CAFile: empty},
		"both its file":                 {URL: there, CertFile: empty},
		"empty.pem":                     {URL: there, CertFile: empty, KeyFile: empty},
		"but no proxy":                  {URL: there, ProxyAuthorizationFile: open},
		"proxy_authorization_file":      {URL: there, Proxy: "http://edge:secret@proxy:3128"},
		"the proxy for X cannot be":     {URL: there, Proxy: "http://edge:secret@proxy:x"},
		"spoken to over TLS":            {URL: there, Proxy: "https://proxy:3128"},
		"none that can be used":         {URL: there, Proxy: "socks5://proxy:3128"},
		"X is none that can":            {URL: there, Proxy: "http://proxy"},
		"must hold one line, USER":      {URL: there, Proxy: "http://proxy:3128", ProxyAuthorizationFile: secretFile(t, "secret")},
		"authorization for the proxy":   {URL: there, Proxy: "http://proxy:3128", ProxyAuthorizationFile: nothing},
		"can be read by everybody":      {URL: there, AuthorizationFile: open},
		"for X: " + open + " can be":    {URL: there, CertFile: empty, KeyFile: open},
		"authorization for X: open":     {URL: there, AuthorizationFile: nothing},
		"one line of at most 8192":      {URL: there, AuthorizationFile: secretFile(t, strings.Repeat("secret", 2000))},
		"must hold one line of at most": {URL: there, AuthorizationFile: secretFile(t, "secret\nsecret")},
	} {
		o.Name = "X"
		_, err := New(o)
		require.ErrorContains(t, err, want)
		require.NotContains(t, strings.ReplaceAll(err.Error(), "/secret", ""), "secret", want) // but for the file's name
	}
}

// Package http sends a request again by itself where a connection was closed while
// it was idle; a large body is then read again from its beginning.
func TestALargeBodyCanBeReadAgain(t *testing.T) {
	const text = "a body that is said to be large"
	var opened atomic.Int32
	m := message()
	m.Body, m.Object, m.Size = nil, relay.ObjectName(relay.FreshObject(), 1), int64(len(text))
	m.Open = func(context.Context) (io.ReadCloser, error) {
		opened.Add(1)
		return io.NopCloser(strings.NewReader(text)), nil
	}
	d := service(t, Options{URL: "http://127.0.0.1:1"})
	sent, err := Unchanged(t.Context(), m)
	require.NoError(t, err)
	req, err := d.request(t.Context(), m, sent)
	require.NoError(t, err)
	for range 2 {
		again, err := req.GetBody()
		require.NoError(t, err)
		read, err := io.ReadAll(again)
		require.NoError(t, err)
		require.Equal(t, text, string(read))
	}
	require.EqualValues(t, 3, opened.Load())

	m.Method = http.MethodGet // one that may have been processed is not sent again
	req, err = d.request(t.Context(), m, sent)
	require.NoError(t, err)
	require.Nil(t, req.GetBody)
}

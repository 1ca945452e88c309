package relay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var classifyNow = time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)

// httpVerdict is the table for destinations of kind http, written in another way
// than the code.
func httpVerdict(status int) Result {
	special := map[int]Result{
		401: {Class: ClassDenied, Reason: ReasonUnauthorized, Hold: 5 * time.Minute},
		403: {Class: ClassDenied, Reason: ReasonUnauthorized, Hold: 30 * time.Second},
		408: {Class: ClassTransient, Reason: ReasonTimeout},
		413: {Class: ClassRejected, Reason: ReasonTooLarge},
		425: {Class: ClassTransient, Reason: ReasonNotReady},
		429: {Class: ClassTransient, Reason: ReasonThrottled},
		502: {Class: ClassUnavailable, Reason: ReasonUnavailable, Confirmed: ClassTransient, Ambiguous: true},
		503: {Class: ClassUnavailable, Reason: ReasonUnavailable, Confirmed: ClassTransient},
		504: {Class: ClassUnavailable, Reason: ReasonUnavailable, Confirmed: ClassTransient, Ambiguous: true},
	}
	byHundred := map[int]Result{
		2: {Class: ClassDelivered},
		3: {Class: ClassRejected, Reason: ReasonRejected},
		4: {Class: ClassRejected, Reason: ReasonRejected},
	}
	r, ok := special[status]
	if !ok {
		r, ok = byHundred[status/100]
	}
	if !ok {
		r = Result{Class: ClassTransient, Reason: ReasonServerError}
	}
	r.Status = status
	return r
}

func TestClassifyHTTP(t *testing.T) {
	for status := -1; status <= 1000; status++ {
		got := ClassifyHTTP(Answer{Status: status, Sent: true, Body: []byte(" what it says\n")}, classifyNow)
		want := httpVerdict(status)
		switch {
		case want.Class == ClassDelivered:
		case status/100 == 3:
			want.Detail = fmt.Sprintf("answered %d; redirects are not followed: configure the address that answers itself", status)
		default:
			want.Detail = "what it says"
		}
		require.Equal(t, want, got, status)
	}
}

func TestClassifyHTTPRetryAfter(t *testing.T) {
	for _, status := range []int{429, 503, 500, 403} {
		a := Answer{Status: status, Header: http.Header{"Retry-After": {"17"}}}
		require.Equal(t, 17*time.Second, ClassifyHTTP(a, classifyNow).RetryAfter, status)
	}
	a := Answer{Status: 429, Header: http.Header{"Retry-After": {classifyNow.Add(time.Minute).Format(http.TimeFormat)}}}
	require.Equal(t, time.Minute, ClassifyHTTP(a, classifyNow).RetryAfter)
}

func TestRedirectText(t *testing.T) {
	a := Answer{Status: 301, Header: http.Header{"Location": {"https://user:secret@elsewhere.example.com/\x1b[31m"}}}
	require.Equal(t, "answered 301 to https://elsewhere.example.com/.[31m; redirects are not followed: configure the address that answers itself",
		RedirectText(a))
	a.Header.Set("Location", "https://elsewhere.example.com/login?token=secret#secret")
	require.Contains(t, RedirectText(a), "to https://elsewhere.example.com/login?…; ")
	a.Header.Set("Location", strings.Repeat("é", 10000))
	require.LessOrEqual(t, len(RedirectText(a)), MaxDetail)
}

func TestExcerptIsBoundedAndPrintable(t *testing.T) {
	require.Equal(t, "a b c d.[1m.", Excerpt([]byte("a\nb\tc\rd\x1b[1m\x7f")))
	require.Equal(t, ".31m", Excerpt([]byte("\u009b31m")), "a terminal obeys this one, too")
	require.Equal(t, "abc.def", Excerpt([]byte("abc\u202edef")), "text turned round is not what it seems")
	require.Equal(t, "ä.ö", Excerpt([]byte("ä\xffö")))
	for _, text := range []string{strings.Repeat("é", MaxDetail), strings.Repeat("x\xff", MaxDetail), strings.Repeat("a", MaxDetail+1)} {
		got := Excerpt([]byte(text))
		require.LessOrEqual(t, len(got), MaxDetail)
		require.True(t, utf8.ValidString(got) && strings.HasSuffix(got, "…"))
	}
	require.Equal(t, strings.Repeat("a", MaxDetail), Excerpt([]byte(strings.Repeat("a", MaxDetail))))
}

func dialError(err error) error {
	return &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443}, Err: err}
}

func readError(err error) error {
	return &net.OpError{Op: "read", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443}, Err: err}
}

func TestClassifyError(t *testing.T) {
	alert := func(text string) error {
		return fmt.Errorf("broken: %w", &net.OpError{Op: "remote error", Err: errors.New("tls: " + text)})
	}
	expired := &x509.Certificate{NotAfter: classifyNow}
	for name, c := range map[string]struct {
		err    error
		denied bool
		reason string
		detail string
	}{
		"refused":             {dialError(os.NewSyscallError("connect", syscall.ECONNREFUSED)), false, ReasonUnavailable, "connection to 192.0.2.1:443 refused"},
		"no route":            {dialError(syscall.EHOSTUNREACH), false, ReasonUnavailable, "no route to 192.0.2.1:443"},
		"no network":          {dialError(syscall.ENETUNREACH), false, ReasonUnavailable, "no route to 192.0.2.1:443"},
		"timeout dialling":    {dialError(os.ErrDeadlineExceeded), false, ReasonTimeout, "no connection to 192.0.2.1:443 in time"},
		"timeout reading":     {readError(os.ErrDeadlineExceeded), false, ReasonTimeout, "no answer in time"},
		"timeout of the try":  {fmt.Errorf("x: %w", context.DeadlineExceeded), false, ReasonTimeout, "no answer in time"},
		"cut off":             {context.Canceled, false, ReasonUnavailable, "the attempt was cut off"},
		"reset":               {readError(syscall.ECONNRESET), false, ReasonUnavailable, "connection to 192.0.2.1:443 reset"},
		"broken pipe":         {syscall.EPIPE, false, ReasonUnavailable, "connection reset"},
		"closed":              {io.EOF, false, ReasonUnavailable, "closed by the other side"},
		"closed in an answer": {io.ErrUnexpectedEOF, false, ReasonUnavailable, "closed by the other side"},
		"unknown name":        {dialError(&net.DNSError{Err: "no such host", Name: "f.example", IsNotFound: true}), false, ReasonUnavailable, `the name "f.example" does not exist`},
		"name timeout":        {dialError(&net.DNSError{Err: "i/o timeout", Name: "f.example", IsTimeout: true}), false, ReasonTimeout, `no answer from the name service for "f.example"`},
		"name service broken": {dialError(&net.DNSError{Err: "server misbehaving", Name: "f.example"}), false, ReasonUnavailable, "server misbehaving"},
		"no TLS":              {tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, false, ReasonUnavailable, "does not speak TLS"},
		"no TLS, by a client": {fmt.Errorf("x: %w", http.ErrSchemeMismatch), false, ReasonUnavailable, "does not speak TLS"},
		"another alert":       {alert("internal error"), false, ReasonUnavailable, "tls: internal error"},
		"our own guard":       {dialError(DialGuard("f.example")("tcp", "127.0.0.1:1", nil)), false, ReasonUnavailable, "f.example leads to 127.0.0.1"},
		"anything else":       {errors.New("strange"), false, ReasonUnavailable, "strange"},

		"their CA":             {&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, true, "", "not signed by a trusted authority"},
		"their name":           {x509.HostnameError{Certificate: &x509.Certificate{}, Host: "f.example"}, true, "", `not for "f.example"`},
		"theirs is too old":    {x509.CertificateInvalidError{Cert: expired, Reason: x509.Expired}, true, "", "expired or is not valid yet"},
		"theirs is no server":  {x509.CertificateInvalidError{Cert: expired, Reason: x509.IncompatibleUsage}, true, "", "was not accepted: "},
		"theirs, other":        {&tls.CertificateVerificationError{Err: errors.New("why")}, true, "", "why"},
		"ours is missing":      {alert("certificate required"), true, "", "refused the TLS connection (certificate required)"},
		"ours is too old":      {alert("expired certificate"), true, "", "refused the TLS connection (expired certificate)"},
		"our CA":               {alert("unknown certificate authority"), true, "", "unknown certificate authority"},
		"ours before TLS 1.3":  {alert("handshake failure"), true, "", "handshake failure"},
		"ours, wrapped by URL": {&url.Error{Op: "Post", URL: "https://x", Err: alert("bad certificate")}, true, "", "bad certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, sent := range []bool{false, true} {
				a := Answer{Err: c.err, Sent: sent}
				want := Result{Class: ClassUnavailable, Reason: c.reason, Confirmed: ClassTransient, Ambiguous: sent, Detail: ErrorText(c.err)}
				if c.denied {
					want = Result{Class: ClassDenied, Reason: ReasonUnauthorized, Hold: 30 * time.Second, Detail: ErrorText(c.err)}
				}
				require.Equal(t, want, ClassifyHTTP(a, classifyNow))
				require.Contains(t, want.Detail, c.detail)
			}
		})
	}
}

// An answer that broke off is none, whatever its status was.
func TestClassifyHTTPWithABrokenAnswer(t *testing.T) {
	for _, status := range []int{201, 422, 500} {
		r := ClassifyHTTP(Answer{Status: status, Err: io.ErrUnexpectedEOF, Sent: true}, classifyNow)
		require.Equal(t, ClassUnavailable, r.Class)
		require.Equal(t, status, r.Status)
		require.True(t, r.Ambiguous)
	}
}

func TestErrorTextHidesCredentials(t *testing.T) {
	for _, err := range []error{
		&url.Error{Op: "Post", URL: "https://user:secret@f.example/?token=secret", Err: errors.New("strange")},
		errors.New(`parse "https://user:secret@f.example": strange`),
		errors.New("https://user:sec@ret@f.example/ is strange"),
		errors.New("https://user:a/secret@f.example/ is strange"),
		errors.New("amqp+x://secret@f.example/ is strange"),
	} {
		text := ErrorText(err)
		assert.NotContains(t, text, "secret")
		assert.NotContains(t, text, "ret@")
		assert.Contains(t, text, "strange")
	}
	assert.Empty(t, ErrorText(nil))
	assert.LessOrEqual(t, len(ErrorText(errors.New(strings.Repeat("é\x00", 5000)))), MaxDetail)
	assert.Equal(t, "..[2J", ErrorText(errors.New("\xff\x1b[2J")))
}

// The same with what package net/http really returns.
func TestClassifyErrorOfRealServers(t *testing.T) {
	get := func(t *testing.T, address string) Result {
		t.Helper()
		tr := &http.Transport{}
		defer tr.CloseIdleConnections()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
		require.NoError(t, err)
		resp, err := (&http.Client{Transport: tr}).Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		require.Error(t, err)
		return ClassifyHTTP(Answer{Err: err}, classifyNow)
	}
	t.Run("nothing listens", func(t *testing.T) {
		s := httptest.NewServer(nil)
		s.Close()
		require.Contains(t, get(t, s.URL).Detail, "refused: nothing listens there")
	})
	t.Run("closed without an answer", func(t *testing.T) {
		s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
		defer s.Close()
		r := get(t, s.URL)
		require.Equal(t, ClassUnavailable, r.Class)
		require.Contains(t, r.Detail, "closed by the other side")
	})
	t.Run("a certificate nobody trusts", func(t *testing.T) {
		s := httptest.NewUnstartedServer(nil)
		s.Config.ErrorLog = log.New(io.Discard, "", 0) // it says what is expected
		s.StartTLS()
		defer s.Close()
		r := get(t, s.URL)
		require.Equal(t, ClassDenied, r.Class)
		require.Contains(t, r.Detail, "not signed by a trusted authority")
	})
	t.Run("no TLS there", func(t *testing.T) {
		s := httptest.NewServer(nil)
		defer s.Close()
		r := get(t, strings.Replace(s.URL, "http:", "https:", 1))
		require.Equal(t, ClassUnavailable, r.Class)
		require.Contains(t, r.Detail, "does not speak TLS")
	})
}

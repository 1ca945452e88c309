package relay

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// How long the circuit stays open when the relay is not let in. Foreman counts
// every 401 against the relay's address, 30 in five minutes, and then refuses
// even right credentials from there; nothing counts a 403.
const (
	HoldUnauthenticated = 5 * time.Minute
	HoldForbidden       = 30 * time.Second
)

// Answer is what came back for one request.
type Answer struct {
	Status int // 0: no answer
	Header http.Header
	Body   []byte // a bounded excerpt
	Err    error  // no complete answer, whatever Status says
	Sent   bool   // some of the request may have reached the destination
}

// ClassifyHTTP judges the answer of a destination of kind http, by its status
// alone: nothing else is known of such a service.
func ClassifyHTTP(a Answer, now time.Time) Result {
	if a.Err != nil {
		return ClassifyError(a)
	}
	r := Result{Status: a.Status, RetryAfter: ParseRetryAfter(a.Header.Get("Retry-After"), now)}
	if a.Status >= 200 && a.Status <= 299 {
		r.Class = ClassDelivered
		return r
	}
	r.Detail = Excerpt(bytes.TrimSpace(a.Body))
	switch {
	case a.Status >= 300 && a.Status <= 399:
		r.Class, r.Reason, r.Detail = ClassRejected, ReasonRejected, RedirectText(a)
	case a.Status >= 400 && a.Status <= 499:
		ClassifyRefusal(&r)
	default:
		ClassifyFault(&r)
	}
	return r
}

// ClassifyRefusal completes the result for a status of 400 to 499.
func ClassifyRefusal(r *Result) {
	switch r.Status {
	case http.StatusUnauthorized:
		r.Class, r.Reason, r.Hold = ClassDenied, ReasonUnauthorized, HoldUnauthenticated
	case http.StatusForbidden:
		r.Class, r.Reason, r.Hold = ClassDenied, ReasonUnauthorized, HoldForbidden
	case http.StatusRequestTimeout:
		r.Class, r.Reason = ClassTransient, ReasonTimeout
	case http.StatusTooEarly:
		r.Class, r.Reason = ClassTransient, ReasonNotReady
	case http.StatusTooManyRequests:
		r.Class, r.Reason = ClassTransient, ReasonThrottled
	case http.StatusRequestEntityTooLarge:
		r.Class, r.Reason = ClassRejected, ReasonTooLarge
	default:
		r.Class, r.Reason = ClassRejected, ReasonRejected
	}
}

// ClassifyFault completes the result for a status of 500 and more, and for what
// is no final status at all. A 503 is told by a gateway that reached nobody; a
// 502 or 504 by one that may have reached somebody.
func ClassifyFault(r *Result) {
	switch r.Status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		r.Class, r.Confirmed, r.Reason = ClassUnavailable, ClassTransient, ReasonUnavailable
		r.Ambiguous = r.Status != http.StatusServiceUnavailable
	default:
		r.Class, r.Reason = ClassTransient, ReasonServerError
	}
}

// ClassifyError judges an attempt without a complete answer. A certificate
// that one of the two sides does not accept is for an operator to mend; all else
// is for a probe to confirm.
func ClassifyError(a Answer) Result {
	r := Result{Status: a.Status, Detail: ErrorText(a.Err)}
	if certificateProblem(a.Err) != "" {
		r.Class, r.Reason, r.Hold = ClassDenied, ReasonUnauthorized, HoldForbidden
		return r
	}
	r.Class, r.Confirmed, r.Reason = ClassUnavailable, ClassTransient, ReasonUnavailable
	r.Ambiguous = a.Sent
	if timedOut(a.Err) {
		r.Reason = ReasonTimeout
	}
	return r
}

// RedirectText is what an operator needs to know of an answer from 300 to 399.
func RedirectText(a Answer) string {
	text := fmt.Sprintf("answered %d", a.Status)
	if to := a.Header.Get("Location"); to != "" {
		if i := strings.IndexAny(to, "?#"); i >= 0 { // what follows may be a token
			to = to[:i] + "?…"
		}
		text += " to " + to
	}
	return plain(text + "; redirects are not followed: configure the address that answers itself")
}

// ErrorText names an error of the network in plain words, at most MaxDetail
// bytes, without the user information of any URL in it.
func ErrorText(err error) string {
	if err == nil {
		return ""
	}
	var located *url.Error
	if errors.As(err, &located) { // its text repeats the URL, and a query may hold a token
		err = located.Err
	}
	for _, name := range []func(error) string{
		refusedProblem, certificateProblem, protocolProblem, nameProblem, timeProblem, connectionProblem,
	} {
		if text := name(err); text != "" {
			return plain(text)
		}
	}
	return plain(err.Error())
}

func refusedProblem(err error) string {
	var refused *AddressError
	if errors.As(err, &refused) {
		return refused.Error()
	}
	return ""
}

// certificateProblem says what is wrong with a certificate, theirs or ours; ""
// when none is the cause.
func certificateProblem(err error) string {
	var (
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		other   *tls.CertificateVerificationError
		remote  *net.OpError
	)
	switch {
	case errors.As(err, &unknown):
		return "the server's certificate is not signed by a trusted authority: configure the CA that signed it"
	case errors.As(err, &name):
		return fmt.Sprintf("the server's certificate is not for %q: configure the name that it is for", name.Host)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the server's certificate has expired or is not valid yet: renew it, or set the clock"
	case errors.As(err, &invalid), errors.As(err, &other):
		return "the server's certificate was not accepted: " + err.Error()
	case CertificateRefused(err) && errors.As(err, &remote):
		return fmt.Sprintf("the server refused the TLS connection (%s): configure a client certificate that it accepts",
			strings.TrimPrefix(remote.Err.Error(), "tls: "))
	}
	return ""
}

// CertificateRefused says whether the other side did not take our certificate, or
// wants one: the other certificate problems are ours to see, with theirs.
func CertificateRefused(err error) bool {
	var remote *net.OpError
	return errors.As(err, &remote) && remote.Op == "remote error" && slices.Contains(certificateAlerts[:], remote.Err.Error())
}

// certificateAlerts are the TLS alerts by which a server refuses our
// certificate, or that we have none, in the words of crypto/tls, which exports
// no type for them. OpenSSL below TLS 1.3 sends the last one for none.
var certificateAlerts = [...]string{
	"tls: bad certificate", "tls: unsupported certificate", "tls: revoked certificate", "tls: expired certificate",
	"tls: unknown certificate", "tls: unknown certificate authority", "tls: access denied", "tls: certificate required",
	"tls: handshake failure",
}

func protocolProblem(err error) string {
	var header tls.RecordHeaderError
	if errors.As(err, &header) || errors.Is(err, http.ErrSchemeMismatch) {
		return "the server does not speak TLS on this port: configure another port, or http:// if that is meant"
	}
	return ""
}

func nameProblem(err error) string {
	var dns *net.DNSError
	switch {
	case !errors.As(err, &dns):
		return ""
	case dns.IsNotFound:
		return fmt.Sprintf("the name %q does not exist in the name service", dns.Name)
	case dns.IsTimeout:
		return fmt.Sprintf("no answer from the name service for %q in time", dns.Name)
	}
	return fmt.Sprintf("the name service has no answer for %q: %s", dns.Name, dns.Err)
}

func timedOut(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

func timeProblem(err error) string {
	var op *net.OpError
	switch {
	case errors.Is(err, context.Canceled):
		return "the attempt was cut off"
	case !timedOut(err):
		return ""
	case errors.As(err, &op) && op.Op == "dial":
		return "no connection" + peer(err) + " in time"
	}
	return "no answer in time"
}

func connectionProblem(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection" + peer(err) + " refused: nothing listens there"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection" + peer(err) + " reset by the other side"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no route" + peer(err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed by the other side before the answer was complete"
	}
	return ""
}

// peer is " to ADDRESS", where the error knows it.
func peer(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Addr != nil {
		return " to " + op.Addr.String()
	}
	return ""
}

// userInfo matches the user information of a URL and, to be safe, everything up
// to the last @ of the same word.
var userInfo = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)[^\s"]*@`)

func plain(text string) string {
	return Excerpt([]byte(userInfo.ReplaceAllString(strings.ToValidUTF8(text, "."), "$1")))
}

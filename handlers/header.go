package handlers

import (
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/theforeman/foreman-relay/relay"
)

// Bounds of header values that are kept, in bytes: of those that are the relay's
// own, and of those that any client sends, which are no reason to lose a report.
// Three times the latter, percent-encoded, still fit the envelope.
const (
	maxHeaderValue = 255
	maxNegotiation = relay.MaxEnvelopeValue / 3
)

// Headers with which a sender says what becomes of a message; headerPath is for
// the admin socket alone.
const (
	headerRoute       = "Relay-Route"
	headerKey         = "Idempotency-Key"
	headerOrderingKey = "Relay-Ordering-Key"
	headerPath        = "Relay-Path"
	headerNotBefore   = "Relay-Not-Before"
	headerExpires     = "Relay-Expires"
	headerPriority    = "Relay-Priority"
)

// takeHeaders keeps what the destination needs of the request's headers. A body
// without a type is bytes (RFC 9110, 8.3).
func takeHeaders(m *relay.Message, r relay.Route, req *http.Request) error {
	h := req.Header
	m.ContentType, m.Accept = h.Get("Content-Type"), strings.Join(h.Values("Accept"), ", ")
	if m.ContentType == "" && len(m.Body) > 0 {
		m.ContentType = "application/octet-stream"
	}
	if err := headerFit("Content-Type", m.ContentType, maxNegotiation); err != nil {
		return err
	}
	if err := headerFit("Accept", m.Accept, maxNegotiation); err != nil {
		return err
	}
	return keepHeaders(m, r, req)
}

// maxKept is how many headers of a request may travel: a machine has no more
// interfaces, and each one costs space in the envelope.
const maxKept = 32

// keepHeaders keeps what else the route's destination needs. What the sender
// says of its own address is not believed.
func keepHeaders(m *relay.Message, r relay.Route, req *http.Request) error {
	kept := map[string]string{}
	for name, values := range req.Header {
		if !slices.ContainsFunc(r.Keep, func(pattern string) bool { return keeps(pattern, name) }) {
			continue
		}
		kept[name] = strings.Join(values, ", ")
		if err := headerFit(name, kept[name], maxNegotiation); err != nil {
			return err
		}
	}
	if len(kept) > maxKept {
		return relay.Refuse(relay.CodeMalformed, "the request has %d headers for the destination, more than %d; nothing was stored", len(kept), maxKept)
	}
	if r.ClientAddress {
		kept["X-Forwarded-For"] = clientAddress(req)
	}
	if len(kept) > 0 {
		m.Header = kept
	}
	return nil
}

// keeps compares a header's canonical name with a pattern of Route.Keep.
func keeps(pattern, name string) bool {
	prefix, open := strings.CutSuffix(pattern, "*")
	return name == pattern || open && strings.HasPrefix(name, prefix)
}

// clientAddress is who is at the other end of the connection.
func clientAddress(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// single reads a header that may be given once: printable ASCII.
func single(h http.Header, name string) (string, error) {
	values := h.Values(name)
	if len(values) == 0 {
		return "", nil
	}
	if len(values) > 1 {
		return "", relay.Refuse(relay.CodeMalformed, "header %s is given %d times; give it once", name, len(values))
	}
	if strings.TrimSpace(values[0]) == "" {
		return "", relay.Refuse(relay.CodeMalformed, "header %s is empty; leave it out or give it a value", name)
	}
	return values[0], headerFit(name, values[0], maxHeaderValue)
}

func headerFit(name, value string, limit int) error {
	if len(value) > limit || !printable(value) {
		return relay.Refuse(relay.CodeMalformed, "header %s must be printable ASCII of at most %d bytes; nothing was stored", name, limit)
	}
	return nil
}

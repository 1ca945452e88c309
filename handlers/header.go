package handlers

import (
	"net/http"
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

// takeHeaders keeps what the destination needs of the request's headers. A body
// without a type is bytes (RFC 9110, 8.3).
func takeHeaders(m *relay.Message, h http.Header) error {
	m.ContentType, m.Accept = h.Get("Content-Type"), strings.Join(h.Values("Accept"), ", ")
	if m.ContentType == "" {
		m.ContentType = "application/octet-stream"
	}
	if err := headerFit("Content-Type", m.ContentType, maxNegotiation); err != nil {
		return err
	}
	return headerFit("Accept", m.Accept, maxNegotiation)
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

package relay

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// EnvelopeVersion is written into every message; a reader refuses what it does
// not know instead of guessing.
const EnvelopeVersion = 1

// MaxEnvelopeValue bounds each envelope value, in bytes as stored.
const MaxEnvelopeValue = 4096

// The envelope's header names. Values that come from outside are
// percent-encoded: a NATS header can hold no line break.
const (
	hdrVersion         = "Relay-Version"
	hdrID              = "Relay-Id"
	hdrOrganization    = "Relay-Organization"
	hdrDestination     = "Relay-Destination"
	hdrRoute           = "Relay-Route"
	hdrLane            = "Relay-Lane"
	hdrKey             = "Relay-Key"
	hdrMethod          = "Relay-Method"
	hdrPath            = "Relay-Path"
	hdrContentType     = "Relay-Content-Type"
	hdrAccept          = "Relay-Accept"
	hdrContentEncoding = "Relay-Content-Encoding"
	hdrRequestID       = "Relay-Request-Id"
	hdrReceived        = "Relay-Received"
	hdrDigest          = "Relay-Digest"
	hdrReplayedFrom    = "Relay-Replayed-From"
	hdrSettledBefore   = "Relay-Settled-Before"
	hdrKept            = "Relay-Kept-" // before the name of a header that travels
)

// ErrEnvelope is wrapped by every decoding error.
var ErrEnvelope = errors.New("not a message of this relay")

// textFields pairs the header names with the fields that are plain text.
func (m *Message) textFields() map[string]*string {
	return map[string]*string{
		hdrID: &m.ID, hdrOrganization: &m.Queue.Organization, hdrDestination: &m.Queue.Destination,
		hdrRoute: &m.Route, hdrLane: &m.Lane, hdrKey: &m.Key, hdrMethod: &m.Method, hdrPath: &m.Path,
		hdrContentType: &m.ContentType, hdrAccept: &m.Accept, hdrContentEncoding: &m.ContentEncoding,
		hdrRequestID: &m.RequestID, hdrDigest: &m.Digest, hdrReplayedFrom: &m.ReplayedFrom,
	}
}

// EncodeEnvelope writes everything but the body as headers. Empty fields are
// left out. A value above MaxEnvelopeValue is an error that names it.
func EncodeEnvelope(m *Message) (map[string][]string, error) {
	h := map[string][]string{
		hdrVersion:  {strconv.Itoa(EnvelopeVersion)},
		hdrReceived: {m.Received.UTC().Format(time.RFC3339Nano)},
	}
	for name, field := range m.textFields() {
		if *field == "" {
			continue
		}
		v, err := envelopeValue(strings.ToLower(strings.TrimPrefix(name, "Relay-")), *field)
		if err != nil {
			return nil, err
		}
		h[name] = v
	}
	for name, value := range m.Header {
		v, err := envelopeValue(name, value)
		if err != nil {
			return nil, err
		}
		h[hdrKept+name] = v
	}
	if m.SettledBefore {
		h[hdrSettledBefore] = []string{"yes"}
	}
	return h, nil
}

func envelopeValue(what, value string) ([]string, error) {
	v := escape(value)
	if len(v) > MaxEnvelopeValue {
		return nil, Refuse(CodeInvalid, "%s is %d bytes long, more than %d", what, len(v), MaxEnvelopeValue)
	}
	return []string{v}, nil
}

// DecodeEnvelope is the inverse of EncodeEnvelope; body is taken as it is.
// Headers that are not the envelope's are ignored.
func DecodeEnvelope(h map[string][]string, body []byte) (*Message, error) {
	if v := first(h, hdrVersion); v != strconv.Itoa(EnvelopeVersion) {
		return nil, fmt.Errorf("%w: envelope version %q, this program reads %d", ErrEnvelope, v, EnvelopeVersion)
	}
	m := &Message{Body: body, SettledBefore: first(h, hdrSettledBefore) == "yes"}
	for name, field := range m.textFields() {
		v, err := url.PathUnescape(first(h, name))
		if err != nil {
			return nil, fmt.Errorf("%w: header %s: %w", ErrEnvelope, name, err)
		}
		*field = v
	}
	if err := m.decodeKept(h); err != nil {
		return nil, err
	}
	received, err := time.Parse(time.RFC3339Nano, first(h, hdrReceived))
	if err != nil {
		return nil, fmt.Errorf("%w: header %s: %w", ErrEnvelope, hdrReceived, err)
	}
	m.Received = received
	if queue, _, ok := ParseID(m.ID); !ok || queue != m.Queue.Token() {
		return nil, fmt.Errorf("%w: id %q is none of queue %s", ErrEnvelope, m.ID, m.Queue)
	}
	return m, nil
}

// decodeKept reads the further headers that travel.
func (m *Message) decodeKept(h map[string][]string) error {
	for name := range h {
		kept, ok := strings.CutPrefix(name, hdrKept)
		if !ok {
			continue
		}
		v, err := url.PathUnescape(first(h, name))
		if err != nil {
			return fmt.Errorf("%w: header %s: %w", ErrEnvelope, name, err)
		}
		if m.Header == nil {
			m.Header = map[string]string{}
		}
		m.Header[kept] = v
	}
	return nil
}

func first(h map[string][]string, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// escape keeps what is readable in a header and encodes the rest, percent signs
// and outer spaces included.
func escape(s string) string {
	if s == "" {
		return ""
	}
	clean := s[0] != ' ' && s[len(s)-1] != ' '
	for i := 0; clean && i < len(s); i++ {
		clean = s[i] >= ' ' && s[i] < 0x7f && s[i] != '%'
	}
	if clean {
		return s
	}
	return url.PathEscape(s)
}

// EnvelopeMarks reads the two marks that a drain needs before the body: whether
// the message has a key, and whether that key was settled before.
func EnvelopeMarks(h map[string][]string) (keyed, settledBefore bool) {
	return first(h, hdrKey) != "", first(h, hdrSettledBefore) == "yes"
}

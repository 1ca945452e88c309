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
// not know instead of guessing. One whose body is stored in pieces has a version of
// its own: who does not know of pieces would deliver an empty body. So has one of
// which something is sealed: who cannot open it would deliver what nobody can read,
// or with credentials that are not its sender's.
const (
	EnvelopeVersion  = 1
	envelopeOfObject = 2
	envelopeOfSealed = 3 // in pieces or not
)

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
	hdrBuried          = "Relay-Dead-Reason"
	hdrNotBefore       = "Relay-Not-Before"
	hdrExpires         = "Relay-Expires"
	hdrPriority        = "Relay-Priority"
	hdrKind            = "Relay-Kind"
	hdrOrigin          = "Relay-Origin"
	hdrKept            = "Relay-Kept-" // before the name of a header that travels
	hdrSealed          = "Relay-Sealed"
	hdrSealedBy        = "Relay-Sealed-By"
	hdrSealedTo        = "Relay-Sealed-To"
	hdrEncryption      = "Relay-Content-Encryption"
	hdrPrint           = "Relay-Print"
	hdrObject          = "Relay-Object"
	hdrSize            = "Relay-Size" // of the body in the object's pieces
	hdrSender          = "Relay-Sender"
)

// sealedByHandshake: Foreman has sealed the credentials, in its document.
const sealedByHandshake = "handshake"

// ErrEnvelope is wrapped by every decoding error.
var ErrEnvelope = errors.New("not a message of this relay")

// textField is a header of the envelope that is plain text, and its field.
type textField struct {
	name  string
	value *string
}

// textFields are all there are: an array, because every message is encoded.
func (m *Message) textFields() [19]textField {
	return [...]textField{
		{hdrID, &m.ID}, {hdrOrganization, &m.Queue.Organization}, {hdrDestination, &m.Queue.Destination},
		{hdrRoute, &m.Route}, {hdrLane, &m.Lane}, {hdrKey, &m.Key}, {hdrMethod, &m.Method}, {hdrPath, &m.Path},
		{hdrContentType, &m.ContentType}, {hdrAccept, &m.Accept}, {hdrContentEncoding, &m.ContentEncoding},
		{hdrRequestID, &m.RequestID}, {hdrDigest, &m.Digest}, {hdrReplayedFrom, &m.ReplayedFrom}, {hdrKind, &m.Kind},
		{hdrSender, &m.Sender},
		{hdrSealedTo, &m.SealedTo}, {hdrEncryption, &m.Encryption}, {hdrPrint, &m.Print},
	}
}

// EncodeEnvelope writes everything but the body as headers. Empty fields are
// left out. A value above MaxEnvelopeValue is an error that names it.
func EncodeEnvelope(m *Message) (map[string][]string, error) {
	fields := m.textFields()
	h := make(map[string][]string, len(fields)+6)            // room for what the broker is told beside it
	values := make([]string, 0, len(fields)+2+len(m.Header)) // one allocation for all
	set := func(name, value string) {
		values = append(values, value)
		h[name] = values[len(values)-1 : len(values) : len(values)]
	}
	set(hdrVersion, strconv.Itoa(m.version()))
	if m.Object != "" {
		h[hdrObject], h[hdrSize] = []string{m.Object}, []string{strconv.FormatInt(m.Size, 10)}
	}
	if m.Sealed != "" {
		if len(m.Sealed) > MaxSealed {
			return nil, Refuse(CodeTooLarge, "the sealed credentials have %d bytes, more than %d", len(m.Sealed), MaxSealed)
		}
		h[hdrSealed] = []string{m.Sealed}
		if m.Standing {
			h[hdrSealedBy] = []string{sealedByHandshake}
		}
	}
	set(hdrReceived, m.Received.UTC().Format(time.RFC3339Nano))
	for _, f := range fields {
		if *f.value == "" {
			continue
		}
		v, err := envelopeValue(strings.ToLower(strings.TrimPrefix(f.name, "Relay-")), *f.value)
		if err != nil {
			return nil, err
		}
		set(f.name, v)
	}
	for name, value := range m.Header {
		v, err := envelopeValue(name, value)
		if err != nil {
			return nil, err
		}
		set(hdrKept+name, v)
	}
	if m.SettledBefore {
		h[hdrSettledBefore] = []string{"yes"}
	}
	m.encodeTimes(h)
	if m.Origin != 0 {
		h[hdrOrigin] = []string{strconv.FormatUint(m.Origin, 10)}
	}
	return h, nil
}

func (m *Message) version() int {
	switch {
	case m.IsSealed():
		return envelopeOfSealed
	case m.Object != "":
		return envelopeOfObject
	}
	return EnvelopeVersion
}

// encodeTimes writes what few messages have.
func (m *Message) encodeTimes(h map[string][]string) {
	set := func(name string, t time.Time) {
		if !t.IsZero() {
			h[name] = []string{t.UTC().Format(time.RFC3339Nano)}
		}
	}
	set(hdrNotBefore, m.NotBefore)
	set(hdrExpires, m.Expires)
	if m.Urgent {
		h[hdrPriority] = []string{priorityUrgent}
	}
}

func envelopeValue(what, value string) (string, error) {
	v := escape(value)
	if len(v) > MaxEnvelopeValue {
		return "", Refuse(CodeInvalid, "%s is %d bytes long, more than %d", what, len(v), MaxEnvelopeValue)
	}
	return v, nil
}

// DecodeEnvelope is the inverse of EncodeEnvelope; body is taken as it is.
// Headers that are not the envelope's are ignored.
func DecodeEnvelope(h map[string][]string, body []byte) (*Message, error) {
	m := &Message{Body: body, SettledBefore: first(h, hdrSettledBefore) == "yes", Buried: first(h, hdrBuried)}
	if err := m.decodeVersion(h); err != nil {
		return nil, err
	}
	for _, f := range m.textFields() {
		v, err := url.PathUnescape(first(h, f.name))
		if err != nil {
			return nil, fmt.Errorf("%w: header %s: %w", ErrEnvelope, f.name, err)
		}
		*f.value = v
	}
	if err := m.decodeKept(h); err != nil {
		return nil, err
	}
	received, err := time.Parse(time.RFC3339Nano, first(h, hdrReceived))
	if err != nil {
		return nil, fmt.Errorf("%w: header %s: %w", ErrEnvelope, hdrReceived, err)
	}
	m.Received = received
	m.Urgent = first(h, hdrPriority) == priorityUrgent
	if m.NotBefore, m.Expires, err = EnvelopeTimes(h); err != nil {
		return nil, err
	}
	if origin := first(h, hdrOrigin); origin != "" {
		if m.Origin, err = strconv.ParseUint(origin, 10, 64); err != nil {
			return nil, fmt.Errorf("%w: header %s: %w", ErrEnvelope, hdrOrigin, err)
		}
	}
	if queue, _, ok := ParseID(m.ID); !ok || queue != m.Queue.Token() {
		return nil, fmt.Errorf("%w: id %q is none of queue %s", ErrEnvelope, m.ID, m.Queue)
	}
	return m, nil
}

// EnvelopeTimes reads, of an envelope, the times that a message was given; zero
// where it was given none.
func EnvelopeTimes(h map[string][]string) (notBefore, expires time.Time, err error) {
	if notBefore, err = envelopeTime(h, hdrNotBefore); err != nil {
		return time.Time{}, time.Time{}, err
	}
	expires, err = envelopeTime(h, hdrExpires)
	return notBefore, expires, err
}

func envelopeTime(h map[string][]string, name string) (time.Time, error) {
	v := first(h, name)
	if v == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, v)
	if err != nil {
		return t, fmt.Errorf("%w: header %s: %w", ErrEnvelope, name, err)
	}
	return t, nil
}

// decodeVersion reads what depends on the version: where the body is.
func (m *Message) decodeVersion(h map[string][]string) error {
	switch v := first(h, hdrVersion); v {
	case strconv.Itoa(EnvelopeVersion):
		return nil
	case strconv.Itoa(envelopeOfObject):
		return m.decodeObject(h)
	case strconv.Itoa(envelopeOfSealed):
		if m.Sealed = first(h, hdrSealed); len(m.Sealed) > MaxSealed {
			return fmt.Errorf("%w: sealed credentials of %d bytes", ErrEnvelope, len(m.Sealed))
		}
		m.Standing = first(h, hdrSealedBy) == sealedByHandshake
		if encryption := first(h, hdrEncryption); encryption != "" && encryption != EncryptionAge {
			return fmt.Errorf("%w: content encryption %q, this program reads %s", ErrEnvelope, encryption, EncryptionAge)
		}
		if first(h, hdrObject) == "" {
			return nil
		}
		return m.decodeObject(h)
	default:
		return fmt.Errorf("%w: envelope version %q, this program reads %d to %d", ErrEnvelope, v, EnvelopeVersion, envelopeOfSealed)
	}
}

// decodeObject reads where the pieces of the body are.
func (m *Message) decodeObject(h map[string][]string) (err error) {
	m.Object, m.Body = first(h, hdrObject), nil
	m.Size, err = strconv.ParseInt(first(h, hdrSize), 10, 64)
	if _, _, ok := ParseObject(m.Object); !ok || err != nil || m.Size < 0 {
		return fmt.Errorf("%w: object %q of %q bytes", ErrEnvelope, m.Object, first(h, hdrSize))
	}
	return nil
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

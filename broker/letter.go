package broker

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/theforeman/foreman-relay/relay"
)

// A letter as it is stored: the message's envelope and body, unchanged, and how
// it died in headers of its own. The journal message of an imported letter has
// these too, but for the sequence.
const (
	hdrDead         = "Relay-Dead-" // all of them begin so
	hdrDeadSequence = hdrDead + "Sequence"
	hdrDeadReason   = hdrDead + "Reason"
	hdrDeadAt       = hdrDead + "At"
	hdrDeadAttempts = hdrDead + "Attempts"
	hdrDeadStatus   = hdrDead + "Status"
	hdrDeadDetail   = hdrDead + "Detail"
	hdrDeadHistory  = hdrDead + "History"
)

// maxHeader is how large the headers of a message may be, in bytes: JetStream
// keeps their length in 16 bits. Some room is left for what goes with a publish.
const maxHeader = 64<<10 - 512

// death is how a message died.
type death struct {
	reason           string
	at               time.Time
	attempts, status int
	detail           string
	history          *relay.History // nil: the end is all there was
}

// write adds the death to headers; where they would grow too large, first the
// history goes, from its beginning, and then the detail.
func (d death) write(h nats.Header) error {
	h.Set(hdrDeadReason, d.reason)
	h.Set(hdrDeadAt, d.at.UTC().Format(time.RFC3339Nano))
	h.Set(hdrDeadAttempts, strconv.Itoa(d.attempts))
	h.Set(hdrDeadStatus, strconv.Itoa(d.status))
	if detail := url.PathEscape(d.detail); headerSize(h)+len(detail) < maxHeader-len(hdrDeadDetail) {
		h.Set(hdrDeadDetail, detail)
	}
	if d.history == nil {
		return nil
	}
	text, err := d.history.Encode(max(0, maxHeader-headerSize(h)-len(hdrDeadHistory)-4))
	if err != nil || text == "" {
		return err
	}
	h.Set(hdrDeadHistory, text)
	return nil
}

// headerSize is what headers take as they are stored, in bytes.
func headerSize(h nats.Header) int {
	n := len("NATS/1.0\r\n\r\n")
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(": \r\n") + len(v)
		}
	}
	return n
}

// envelopeOf are the headers of a stored message that the relay has written.
func envelopeOf(h nats.Header) nats.Header {
	own := nats.Header{}
	for name, values := range h {
		if strings.HasPrefix(name, "Relay-") {
			own[name] = values
		}
	}
	return own
}

// letter decodes a stored letter, with its body but without its history.
func (s *stored) letter() (relay.DeadLetter, *relay.Message, error) {
	m, err := relay.DecodeEnvelope(s.header, s.data)
	if err != nil {
		return relay.DeadLetter{}, nil, err
	}
	l := relay.DeadLetter{ID: m.ID, Organization: m.Queue.Organization, Destination: m.Queue.Destination,
		Route: m.Route, Lane: m.Lane, Key: m.Key, AcceptedAt: m.Received.UTC(), ReplayedFrom: m.ReplayedFrom, Sender: m.Sender,
		Bytes: s.size(), ContentType: m.ContentType, Path: m.Path, Body: m.Body, Place: s.sequence}
	l.Sequence, _ = strconv.ParseUint(s.header.Get(hdrDeadSequence), 10, 64) // zero where it is none
	d := s.death()
	l.Reason, l.DiedAt, l.Attempts, l.Status, l.Detail = d.reason, d.at, d.attempts, d.status, d.detail
	return l, m, nil
}

// death reads what death.write wrote, but for the history.
func (s *stored) death() death {
	d := death{reason: s.header.Get(hdrDeadReason)}
	d.attempts, _ = strconv.Atoi(s.header.Get(hdrDeadAttempts)) // zero where it is none
	d.status, _ = strconv.Atoi(s.header.Get(hdrDeadStatus))
	d.detail, _ = url.PathUnescape(s.header.Get(hdrDeadDetail))
	var err error
	if d.at, err = time.Parse(time.RFC3339Nano, s.header.Get(hdrDeadAt)); err != nil {
		d.at = s.at.UTC()
	}
	return d
}

// history is what happened to the message of a letter. Where nothing is kept of
// it, its end is all there was.
func (s *stored) history() (*relay.History, error) {
	text := s.header.Get(hdrDeadHistory)
	if text == "" {
		d := s.death()
		h := &relay.History{}
		h.Add(relay.EventStatus{At: d.at, State: relay.Dead, Attempt: d.attempts, Status: d.status, Reason: d.reason, Detail: d.detail})
		return h, nil
	}
	h, err := relay.DecodeHistory(text)
	if err != nil {
		return nil, fmt.Errorf("letter at %d: %w", s.sequence, err)
	}
	return h, nil
}

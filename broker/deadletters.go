package broker

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/theforeman/foreman-relay/relay"
)

// A dead letter is the message, whole, with the event that ended it. It is
// buried by the edge when it sees that event: the drain needs no right to write
// letters, and a crash in between buries again. One id has one letter.

const (
	hdrDeadSequence = "Relay-Dead-Sequence"
	hdrDeadReason   = "Relay-Dead-Reason"
	hdrDeadAt       = "Relay-Dead-At"
	hdrDeadAttempts = "Relay-Dead-Attempts"
	hdrDeadStatus   = "Relay-Dead-Status"
	hdrDeadDetail   = "Relay-Dead-Detail"
)

// bury copies a message to the dead letters of its organization. A message that
// the journal no longer has cannot be buried; audit names it.
func (b *Broker) bury(ctx context.Context, q relay.Queue, e relay.Event) error {
	s, err := get(ctx, b.nc, apiGet(journalStream(q)), &getRequest{Sequence: e.Sequence})
	if errors.Is(err, errNotFound) {
		b.log.Error().Str("id", e.ID).Uint64("sequence", e.Sequence).Msg("a dead message is gone from the journal; no letter of it can be kept")
		return nil
	}
	if err != nil {
		return err
	}
	msg := &nats.Msg{Subject: deadSubject(q, e.ID), Header: nats.Header{}}
	for name, values := range s.header {
		if len(name) > 6 && name[:6] == "Relay-" {
			msg.Header[name] = values
		}
	}
	msg.Header.Set(hdrDeadSequence, strconv.FormatUint(e.Sequence, 10))
	msg.Header.Set(hdrDeadReason, e.Reason)
	msg.Header.Set(hdrDeadAt, e.Recorded.UTC().Format(time.RFC3339Nano))
	msg.Header.Set(hdrDeadAttempts, strconv.Itoa(e.Attempt))
	msg.Header.Set(hdrDeadStatus, strconv.Itoa(e.Status))
	msg.Header.Set(hdrDeadDetail, url.PathEscape(e.Detail))
	expectNew(msg, msg.Subject)
	_, err = publish(ctx, b.nc, msg, s.data)
	var refused *pubError
	if errors.As(err, &refused) && refused.ErrCode == codeWrongLastSequence {
		return nil // buried before a crash
	}
	if err != nil {
		return fmt.Errorf("bury %s: %w", e.ID, err)
	}
	return nil
}

// unbury removes the letter of a message that was replayed or discarded.
func (b *Broker) unbury(ctx context.Context, q relay.Queue, id string) error {
	s, err := b.js.Stream(ctx, deadStream(q.Organization))
	if err != nil {
		return err
	}
	return s.Purge(ctx, jetstream.WithPurgeSubject(deadSubject(q, id)))
}

// letter reads the dead letter of an id, with its body.
func (b *Broker) letter(ctx context.Context, q relay.Queue, id string) (relay.DeadLetter, *relay.Message, error) {
	s, err := get(ctx, b.nc, apiGet(deadStream(q.Organization)), &getRequest{LastFor: deadSubject(q, id)})
	if err != nil {
		return relay.DeadLetter{}, nil, err
	}
	l, m, err := s.letter()
	if err == nil && m.Object != "" {
		err = b.addLetterBody(ctx, &l, m)
	}
	return l, m, err
}

func (s *stored) letter() (relay.DeadLetter, *relay.Message, error) {
	m, err := relay.DecodeEnvelope(s.header, s.data)
	if err != nil {
		return relay.DeadLetter{}, nil, err
	}
	l := relay.DeadLetter{ID: m.ID, Organization: m.Queue.Organization, Destination: m.Queue.Destination,
		Route: m.Route, Lane: m.Lane, Key: m.Key, AcceptedAt: m.Received.UTC(), ReplayedFrom: m.ReplayedFrom,
		Reason: s.header.Get(hdrDeadReason), Bytes: s.size(), ContentType: m.ContentType, Path: m.Path, Body: m.Body}
	l.Sequence, _ = strconv.ParseUint(s.header.Get(hdrDeadSequence), 10, 64) // zero where it is none
	l.Attempts, _ = strconv.Atoi(s.header.Get(hdrDeadAttempts))
	l.Status, _ = strconv.Atoi(s.header.Get(hdrDeadStatus))
	l.Detail, _ = url.PathUnescape(s.header.Get(hdrDeadDetail))
	if l.DiedAt, err = time.Parse(time.RFC3339Nano, s.header.Get(hdrDeadAt)); err != nil {
		l.DiedAt = s.at
	}
	return l, m, nil
}

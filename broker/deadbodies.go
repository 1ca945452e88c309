package broker

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/theforeman/foreman-relay/relay"
)

// A letter is whole: the pieces of a large body are copied to it, and stay when
// those of the journal go. They count in the quota of the dead letters.

// buryBody copies the pieces of a body, those that are not there yet: it goes on
// where it was cut short.
func (b *Broker) buryBody(ctx context.Context, q relay.Queue, s *stored) error {
	m, err := s.message()
	if err != nil || m.Object == "" {
		return nil //nolint:nilerr // what cannot be read is buried as it is
	}
	upload, count, _ := relay.ParseObject(m.Object)
	there, err := b.buriedPieces(ctx, q, m.ID)
	if err != nil {
		return err
	}
	read := pieceReader(b.nc, objectStream(q), objectPrefix(m.ID, upload))
	for number := 1; number <= count; number++ {
		subject := pieceSubject(deadPrefix(q, m.ID), number)
		if there[subject] > 0 {
			continue
		}
		piece, err := read(ctx, number)
		if errors.Is(err, errNotFound) {
			b.log.Error().Str("id", m.ID).Int("piece", number).Msg("a piece of a dead message's body is gone; its letter is kept without it")
			continue
		}
		if err != nil {
			return err
		}
		if err := b.putPiece(ctx, subject, piece.data); err != nil {
			return err
		}
	}
	return nil
}

func (b *Broker) buriedPieces(ctx context.Context, q relay.Queue, id string) (map[string]uint64, error) {
	s, err := b.js.Stream(ctx, deadStream(q.Organization))
	if err != nil {
		return nil, err
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(deadPrefix(q, id)+">"))
	if err != nil {
		return nil, err
	}
	return info.State.Subjects, nil
}

// addLetterBody makes the large body of a letter readable, and adds what is shown
// of it.
func (b *Broker) addLetterBody(ctx context.Context, q relay.Queue, l *relay.DeadLetter, m *relay.Message) (err error) {
	m.Open = contentOf(m, pieceReader(b.nc, deadStream(q.Organization), deadPrefix(q, m.ID)))
	l.BodyCut = true
	l.Body, err = excerpt(ctx, m)
	if errors.Is(err, relay.ErrDamaged) {
		return nil // it can be discarded; audit names it, and its replay says so
	}
	return err
}

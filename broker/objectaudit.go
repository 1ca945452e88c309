package broker

import (
	"context"
	"errors"
	"io"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/theforeman/foreman-relay/relay"
)

// checkObjects: every pending message whose body is stored in pieces has all of
// them. A queue that never had pieces is not looked at.
func (a *auditor) checkObjects(ctx context.Context) error {
	s, err := a.b.js.Stream(ctx, objectStream(a.queue))
	if err != nil {
		return err
	}
	if s.CachedInfo().State.LastSeq == 0 {
		return nil
	}
	var failed error
	err = a.b.walk(ctx, journalStream(a.queue), "", a.ledger.Floor()+1, func(m *stored) bool {
		if !a.ledger.Settled(m.sequence) && m.header.Get(hdrObjectSize) != "" {
			failed = a.checkObject(ctx, s, m)
		}
		return failed == nil
	})
	return errors.Join(err, failed)
}

func (a *auditor) checkObject(ctx context.Context, objects jetstream.Stream, s *stored) error {
	m, err := s.message()
	if err != nil {
		a.find(s.sequence, m.ID, "the message cannot be read: %v", err)
		return nil
	}
	upload, count, _ := relay.ParseObject(m.Object)
	prefix := objectPrefix(m.ID, upload)
	info, err := objects.Info(ctx, jetstream.WithSubjectFilter(prefix+">"))
	if err != nil {
		return err
	}
	for number := 1; number <= count; number++ {
		if info.State.Subjects[pieceSubject(prefix, number)] == 0 {
			a.find(s.sequence, m.ID, "piece %d of %d of the message's body is missing", number, count)
			return nil
		}
	}
	return nil
}

// letterIsWhole says whether the body of a letter is the one that was accepted.
func (b *Broker) letterIsWhole(ctx context.Context, m *relay.Message) (bool, error) {
	if m.Object == "" {
		return relay.DigestOf(m.Body) == m.Digest, nil
	}
	content := contentOf(m, pieceReader(b.nc, deadStream(m.Queue.Organization), deadPrefix(m.Queue, m.ID)))
	body, err := content(ctx)
	if err != nil {
		return false, err
	}
	_, err = io.Copy(io.Discard, body)
	if errors.Is(err, relay.ErrDamaged) {
		return false, nil
	}
	return err == nil, err
}

package broker

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/theforeman/foreman-relay/relay"
)

// checkObjects: every pending message with a large body has it, by its size. A
// queue that never had any is not looked at.
func (a *auditor) checkObjects(ctx context.Context) error {
	_, err := os.Stat(filepath.Join(a.b.objects.dir, a.queue.Token()))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return a.b.walk(ctx, journalStream(a.queue), nil, a.ledger.Floor()+1, func(s *stored) bool {
		if !a.ledger.Settled(s.sequence) && s.header.Get(hdrObjectSize) != "" {
			a.checkObject(s)
		}
		return true
	})
}

func (a *auditor) checkObject(s *stored) {
	m, err := s.message()
	if err != nil {
		a.find(s.sequence, m.ID, "the message cannot be read: %v", err)
		return
	}
	upload, pieces, _ := relay.ParseObject(m.Object)
	info, err := os.Stat(filepath.Join(a.b.objects.dir, objectFile(m.ID, upload)))
	switch want := objectBytes(m.Size, pieces); {
	case err != nil:
		a.find(s.sequence, m.ID, "the body of the message is missing")
	case info.Size() != want:
		a.find(s.sequence, m.ID, "the body of the message has %d bytes on the disk, not %d", info.Size(), want)
	}
}

// letterIsWhole says whether the body of a letter is the one that was accepted.
func (b *Broker) letterIsWhole(ctx context.Context, m *relay.Message) (bool, error) {
	if m.Object == "" {
		return relay.DigestOf(m.Body) == m.Digest, nil
	}
	body, err := contentOf(m, b.objects.read)(ctx)
	if err != nil {
		return false, err
	}
	_, err = io.Copy(io.Discard, body)
	if errors.Is(err, relay.ErrDamaged) {
		return false, nil
	}
	return err == nil, err
}

package broker

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/theforeman/foreman-relay/relay"
)

// An object is needed while its message is in the journal, or is a dead letter, or
// may still come. All three are known exactly: journal and letters are asked by the
// id that is in the name of the file, and who is on the way is in this process,
// which alone holds the directory; so after a start nobody is.

// sweep removes the objects of a queue that nobody needs any more.
func (h *housekeeper) sweep(ctx context.Context, q relay.Queue) error {
	o := h.b.objects
	files := o.of(q)
	if len(files) == 0 {
		return nil
	}
	journal, err := h.b.js.Stream(ctx, journalStream(q))
	if err != nil {
		return err
	}
	first := journal.CachedInfo().State.FirstSeq
	for name := range files {
		busy := o.isBusy(name) // before the journal is asked: who has left it is in the journal
		if busy || o.known[name] >= max(first, 1) {
			continue
		}
		needed, err := o.needed(ctx, q, name)
		if err != nil {
			return err
		}
		if needed {
			continue
		}
		delete(o.known, name)
		if err := o.remove(q, name); err != nil {
			return err
		}
	}
	return nil
}

// needed asks the journal and the letters, and remembers what the journal says: its
// messages only go from its head.
func (o *objects) needed(ctx context.Context, q relay.Queue, name string) (bool, error) {
	id, upload, ok := parseObjectFile(filepath.Dir(name), filepath.Base(name))
	if !ok {
		return true, nil // none of ours
	}
	m, err := o.b.find(ctx, id)
	switch {
	case err == nil && refers(m, upload):
		o.known[name] = m.Sequence
		return true, nil
	case err != nil && !errors.Is(err, errNotFound):
		return false, err
	}
	s, err := get(ctx, o.b.nc, apiGet(deadStream(q.Organization)), &getRequest{LastFor: deadSubject(q, id)})
	if errors.Is(err, errNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_, m, err = s.letter()
	return err == nil && refers(m, upload), err
}

func refers(m *relay.Message, upload string) bool {
	token, _, _ := relay.ParseObject(m.Object)
	return token == upload
}

// measure looks whether journal and objects are within the quota; the journal
// alone is the broker's to measure.
func (h *housekeeper) measure(ctx context.Context, q relay.Queue) error {
	use := h.b.objects.queues.of(q)
	if use.bytes.Load() == 0 {
		use.crowded.Store(false)
		return nil
	}
	used, err := h.b.objects.used(ctx, q)
	if err != nil {
		return err
	}
	if used > h.b.quota(q) {
		h.trimForRoom(ctx, q)
		if err := h.sweep(ctx, q); err != nil {
			return err
		}
		if used, err = h.b.objects.used(ctx, q); err != nil {
			return err
		}
	}
	use.crowded.Store(used > h.b.quota(q))
	return nil
}

// clear gives the journal window up for room, and the objects of what was in it.
// There may be no more room than before.
func (h *housekeeper) clear(ctx context.Context, q relay.Queue) {
	err := h.now(ctx, func(ctx context.Context) error {
		h.trimForRoom(ctx, q)
		return h.sweep(ctx, q)
	})
	if err != nil {
		h.b.log.Warn().Err(err).Str("queue", q.String()).Msg("no room could be made in a queue")
	}
}

package broker

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/theforeman/foreman-relay/relay"
)

// An upload is needed while its message is in the journal, or may still come. Both
// are known exactly: the journal is asked by the id that is in the subject of every
// piece, and who is on the way is in this process, which alone holds the directory;
// so after a start nobody is. A dead letter has pieces of its own (deadletters.go).
//
// What is settled goes from the head, as in the journal: the store rewrites
// nothing then. Uploads that were broken off would stay there as long as what
// stands before them, a week perhaps: they are removed where they are. The store
// may rewrite a block then, which is as safe as the decision for a barrier is
// (docs/decisions/0022-claim-check.md).

// place is where an upload begins in its stream, and its message in the journal.
type place struct {
	first   uint64
	journal uint64 // 0: no message was found
}

// sweep removes the uploads of a queue that nobody needs any more.
func (h *housekeeper) sweep(ctx context.Context, q relay.Queue) error {
	o := h.b.objects
	s, err := h.b.js.Stream(ctx, objectStream(q))
	if err != nil {
		return err
	}
	before := s.CachedInfo().State // what begins after this is not swept
	o.queues[q].any.Store(before.Msgs > 0)
	if before.Msgs == 0 {
		return nil
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(objectsFilter(q)))
	if err != nil {
		return err
	}
	journal, err := h.b.js.Stream(ctx, journalStream(q))
	if err != nil {
		return err
	}
	floor, orphans, err := o.judge(ctx, q, info.State.Subjects, journal.CachedInfo().State.FirstSeq, before.LastSeq+1)
	if err != nil {
		return err
	}
	if err := h.purge(ctx, objectStream(q), floor); err != nil {
		return err
	}
	for _, prefix := range orphans {
		if err := h.b.removeSubject(ctx, objectStream(q), prefix+">"); err != nil {
			return err
		}
		h.b.log.Info().Str("queue", q.String()).Msg("an upload that was broken off was removed")
	}
	return nil
}

// judge finds the lowest sequence that is needed, and the uploads above it that
// never had a message.
func (o *objects) judge(ctx context.Context, q relay.Queue, subjects map[string]uint64, journalFirst, floor uint64) (uint64, []string, error) {
	places, lost := map[string]place{}, map[string]place{}
	for subject := range subjects {
		id, upload, ok := parseObjectSubject(subject)
		if !ok {
			continue
		}
		prefix := objectPrefix(id, upload)
		busy := o.isBusy(prefix) // before the journal is asked: who has left it is in the journal
		p, err := o.place(ctx, q, prefix, id, upload)
		if errors.Is(err, errNotFound) {
			continue // removed since it was listed
		}
		if err != nil {
			return 0, nil, err
		}
		switch {
		case busy || p.journal != 0 && p.journal >= journalFirst:
			floor = min(floor, p.first)
		case p.journal == 0:
			lost[prefix] = p
			continue
		}
		places[prefix] = p
	}
	for prefix := range o.places { // those of other queues stay
		if id, _, ok := parseObjectSubject(prefix); ok && queueOf(id) != q.Token() {
			places[prefix] = o.places[prefix]
		}
	}
	o.places = places
	var orphans []string
	for prefix, p := range lost {
		if p.first >= floor {
			orphans = append(orphans, prefix)
		}
	}
	return floor, orphans, nil
}

func queueOf(id string) string {
	queue, _, _ := relay.ParseID(id) // empty where it is none
	return queue
}

// place looks an upload up once; one without a message each time.
func (o *objects) place(ctx context.Context, q relay.Queue, prefix, id, upload string) (place, error) {
	p, known := o.places[prefix]
	if known && p.journal != 0 {
		return p, nil
	}
	if !known {
		s, err := get(ctx, o.b.nc, apiGet(objectStream(q)), &getRequest{LastFor: pieceSubject(prefix, 0)})
		if err != nil {
			return p, err
		}
		p.first = s.sequence
	}
	m, err := o.b.find(ctx, id)
	if errors.Is(err, errNotFound) || errors.Is(err, relay.ErrEnvelope) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	if token, _, _ := relay.ParseObject(m.Object); token == upload {
		p.journal = m.Sequence
	}
	return p, nil
}

// isBusy says whether the message of an upload may still come.
func (o *objects) isBusy(prefix string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	until, busy := o.busy[prefix]
	if busy && !until.IsZero() && time.Now().After(until) {
		delete(o.busy, prefix)
		return false
	}
	return busy
}

// measure looks whether journal and pieces are within the quota; a queue without
// pieces is the broker's own to measure.
func (h *housekeeper) measure(ctx context.Context, q relay.Queue) error {
	use := h.b.objects.queues[q]
	if !use.any.Load() {
		use.crowded.Store(false)
		return nil
	}
	used, err := h.b.objects.used(ctx, q)
	if err != nil {
		return err
	}
	if used > h.b.options.QuotaBytes {
		h.trimForRoom(ctx, q)
		if err := h.sweep(ctx, q); err != nil {
			return err
		}
		if used, err = h.b.objects.used(ctx, q); err != nil {
			return err
		}
	}
	use.crowded.Store(used > h.b.options.QuotaBytes)
	return nil
}

// clear gives the journal window up for room, and the pieces of what was in it;
// false when that could not be done. There may be no more room than before.
func (h *housekeeper) clear(ctx context.Context, q relay.Queue) bool {
	return h.now(ctx, func(ctx context.Context) error {
		h.trimForRoom(ctx, q)
		return h.sweep(ctx, q)
	}) == nil
}

// removeSubject removes the messages of a stream that match a subject.
func (b *Broker) removeSubject(ctx context.Context, stream, subject string) error {
	s, err := b.js.Stream(ctx, stream)
	if err != nil {
		return err
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
		return err
	}
	b.barrier.MarkDirty()
	return nil
}

package broker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/theforeman/foreman-relay/relay"
)

// maxHistoryRead bounds how far back in the record of a destination the history
// of a letter is looked for, in events of all queues. Older attempts are counted
// only.
const maxHistoryRead = 1_000_000

// histories reads what happened to the messages of some graves before they died,
// by sequence. The events of a message are among those of others, so that it is
// read once for all of a bucket; a message that never waited has none.
func (b *Broker) histories(ctx context.Context, q relay.Queue, work []grave) map[uint64]*relay.History {
	buckets := map[string][]grave{}
	for _, g := range work {
		if g.waited && !g.remove {
			subject := eventSubject(q, g.event.ID)
			buckets[subject] = append(buckets[subject], g)
		}
	}
	found := map[uint64]*relay.History{}
	for subject, graves := range buckets {
		if err := b.readHistories(ctx, q, subject, graves, found); err != nil {
			b.log.Warn().Err(err).Str("queue", q.String()).Int("letters", len(graves)).Msg("the history of dead letters cannot be read; they are kept without it")
		}
	}
	return found
}

// readHistories reads one bucket for the graves whose events are in it.
func (b *Broker) readHistories(ctx context.Context, q relay.Queue, subject string, graves []grave, found map[uint64]*relay.History) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	from, through, err := b.span(ctx, q, graves)
	if err != nil {
		return err
	}
	histories, ids := map[uint64]*relay.History{}, map[uint64]string{}
	for _, g := range graves {
		histories[g.event.Sequence], ids[g.event.Sequence] = &relay.History{}, g.event.ID
	}
	err = scan(ctx, b.nc, apiGet(eventStream(q.Destination)), subject, from, func(s *stored) error {
		if s.sequence > through {
			return errStop
		}
		e, err := relay.DecodeEvent(s.data)
		// A sequence may have been another message's, which a power cut took.
		if h := histories[e.Sequence]; err == nil && h != nil && e.ID == ids[e.Sequence] {
			h.Add(eventStatus(e, s.at))
		}
		return nil
	})
	if err != nil && !errors.Is(err, errStop) {
		return err
	}
	for _, g := range graves {
		h := histories[g.event.Sequence]
		countEarlier(h)
		found[g.event.Sequence] = h
	}
	return nil
}

// span is where in the record the events of these graves are: behind the
// acceptance of the first message, and up to the end of the last.
func (b *Broker) span(ctx context.Context, q relay.Queue, graves []grave) (from, through uint64, err error) {
	from = math.MaxUint64
	for _, g := range graves {
		through = max(through, g.place)
		s, err := getOne(ctx, b.nc, apiGet(journalStream(q)), g.event.Sequence)
		if errors.Is(err, errNotFound) {
			continue // no letter of it can be kept either
		}
		if err != nil {
			return 0, 0, err
		}
		since, err := b.house.firstSince(ctx, eventStream(q.Destination), s.at)
		if err != nil {
			return 0, 0, fmt.Errorf("find the events since %s: %w", s.at, err)
		}
		from = min(from, since)
	}
	return max(min(from, through), through-min(through, maxHistoryRead)), through, nil
}

// countEarlier says how many attempts were there before the first event that was
// found: some may be trimmed, or too far back.
func countEarlier(h *relay.History) {
	i := slices.IndexFunc(h.Events, func(e relay.EventStatus) bool { return e.Attempt > 0 })
	if i >= 0 {
		h.Dropped = max(h.Dropped, h.Events[i].Attempt-1-i)
	}
}

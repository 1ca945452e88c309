package broker

import (
	"context"
	"slices"

	"github.com/theforeman/foreman-relay/relay"
)

// isLatest: of messages of this route that wait for one place, only the newest is
// delivered.
func (b *Broker) isLatest(route string) bool { return slices.Contains(b.options.Latest, route) }

// remember enters a message of a latest route that is stored and durable. It
// costs the others a look at a short list.
func (b *Broker) remember(m *relay.Message) {
	if b.isLatest(m.Route) {
		b.newest.of(m.Queue.Token()).stored(m)
	}
}

// outdated finds what was accepted after the message of a dead letter, of a
// latest route, and replaces it: the replay would bring old facts over new ones.
// The journal is searched for what is settled already, a look through all of it;
// what is no longer there is not known, and the replay is what somebody wants.
func (b *Broker) outdated(ctx context.Context, q relay.Queue, m *relay.Message) (by relay.Newest, outdated bool, err error) {
	if !b.isLatest(m.Route) || m.Lane == "" {
		return by, false, nil
	}
	place := placeOf(m)
	if newest, ok := b.newest.of(q.Token()).of(place); ok && newest.Sequence > m.Origin && len(b.lasting(q, []relay.Newest{newest})) > 0 {
		return newest, true, nil
	}
	var found []relay.Newest
	err = b.walk(ctx, journalStream(q), messageFilters(q.Token(), place.Lane, place.Route), m.Origin+1, func(s *stored) bool {
		if later, err := s.message(); err == nil && later.Replaces() && placeOf(later) == place {
			found = append(found, relay.Newest{Place: place, Sequence: s.sequence, ID: later.ID})
		}
		return true
	})
	if found = b.lasting(q, found); err != nil || len(found) == 0 {
		return by, false, err
	}
	return found[len(found)-1], true, nil
}

// replaceLetter does in the place of a replay what has become of its message by
// now: it is superseded, and the receipt is its own.
func (b *Broker) replaceLetter(ctx context.Context, q relay.Queue, l relay.DeadLetter, by relay.Newest) (relay.Receipt, error) {
	err := b.resolve(ctx, q, relay.Event{Sequence: l.Sequence, ID: l.ID, State: relay.Superseded, Reason: relay.ReasonNewer, Link: by.ID})
	return relay.Receipt{ID: l.ID, State: relay.Superseded, Queue: q, Durability: b.choice.String(), AcceptedAt: l.AcceptedAt,
		Location: "/relay/v1/messages/" + l.ID, Replayed: true}, err
}

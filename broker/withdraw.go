package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/theforeman/foreman-relay/relay"
)

// Cancel takes a pending message back.
func (b *Broker) Cancel(ctx context.Context, id string) error {
	token, _, ok := relay.ParseID(id)
	q, known := b.queues()[token]
	if !ok || !known {
		return relay.Refuse(relay.CodeNotFound, "there is no message %q", id)
	}
	m, err := b.find(ctx, id)
	switch {
	case errors.Is(err, errNotFound):
		return relay.Refuse(relay.CodeNotFound, "there is no message %q that is pending", id)
	case err != nil:
		return unavailable(err)
	}
	return b.withHold(ctx, q, func(underway []uint64) error {
		state, err := b.stateOf(ctx, q, m.Sequence)
		switch {
		case err != nil:
			return unavailable(err)
		case state.Settled():
			return relay.Refuse(relay.CodeConflict, "message %s is %s; it cannot be cancelled", id, state)
		case slices.Contains(underway, m.Sequence):
			return relay.Refuse(relay.CodeConflict, "message %s is being delivered at this moment; see what comes of it with `message show`", id)
		}
		return b.withdrawn(ctx, q, relay.Event{Sequence: m.Sequence, ID: id, State: relay.Cancelled, Reason: relay.ReasonOperator, Keyed: m.Key != ""})
	})
}

// stateOf is the state of a sequence by all events stored so far.
func (b *Broker) stateOf(ctx context.Context, q relay.Queue, sequence uint64) (state relay.State, err error) {
	a := b.accounts[q.Destination]
	if err := a.current(ctx); err != nil {
		return "", err
	}
	a.view(q, func(l *relay.Ledger) { state = l.State(sequence) })
	return state, nil
}

// withdrawn records the last of what was taken back or resolved, and waits until
// all of it is on the disk and in the account.
func (b *Broker) withdrawn(ctx context.Context, q relay.Queue, e relay.Event) error {
	sequence, err := recordAt(ctx, b.nc, q, e)
	if err != nil {
		return unavailable(err)
	}
	if err := b.sync(ctx); err != nil {
		return unavailable(err)
	}
	if err := b.accounts[q.Destination].await(ctx, sequence); err != nil {
		return unavailable(err)
	}
	return nil
}

// Purge discards pending messages, the oldest first.
func (b *Broker) Purge(ctx context.Context, q relay.Queue, f relay.PurgeFilter) (relay.Purged, error) {
	if !b.Known(q) {
		return relay.Purged{}, relay.Refuse(relay.CodeNotFound, "there is no queue %s", q)
	}
	f.Host = strings.ToLower(strings.TrimSpace(f.Host)) // as lanes are kept
	p := &purge{b: b, queue: q, filter: f}
	var err error
	if f.DryRun {
		err = p.run(ctx, nil)
	} else {
		err = b.withHold(ctx, q, func(underway []uint64) error { return p.run(ctx, underway) })
	}
	if err != nil {
		return p.Purged, unavailable(err)
	}
	return p.Purged, nil
}

// purge is one call of Purge.
type purge struct {
	relay.Purged
	b      *Broker
	queue  relay.Queue
	filter relay.PurgeFilter
	last   *relay.Event // chosen, and not recorded yet
}

func (p *purge) run(ctx context.Context, underway []uint64) error {
	pending, err := p.pending(ctx)
	if err != nil {
		return err
	}
	from, err := p.b.floor(ctx, p.queue)
	if err != nil {
		return err
	}
	var failed error
	seen := 0
	err = p.b.walk(ctx, journalStream(p.queue), nil, max(from+1, p.filter.From), func(s *stored) bool {
		if seen++; seen > relay.MaxMessagesScanned || p.Discarded+p.Underway == relay.WithdrawBatch {
			p.Next = s.sequence
			return false
		}
		switch m := p.chosen(s); {
		case m == nil || !pending(s.sequence):
		case slices.Contains(underway, s.sequence):
			p.Underway++
		default:
			failed = p.discard(ctx, m)
		}
		return failed == nil
	})
	if err = errors.Join(failed, err); err != nil || p.last == nil {
		return err
	}
	return p.b.withdrawn(ctx, p.queue, *p.last)
}

// pending says of a sequence, by all events stored before, whether it is not
// settled. Nobody settles anything meanwhile but attempts that are under way.
func (p *purge) pending(ctx context.Context) (func(sequence uint64) bool, error) {
	a := p.b.accounts[p.queue.Destination]
	if err := a.current(ctx); err != nil {
		return nil, err
	}
	return func(sequence uint64) (is bool) {
		a.view(p.queue, func(l *relay.Ledger) { is = !l.Settled(sequence) })
		return is
	}, nil
}

// chosen reads a message that is as the filter says; nil: it is not.
func (p *purge) chosen(s *stored) *relay.Message {
	f := p.filter
	if !f.Before.IsZero() && !s.at.Before(f.Before) {
		return nil
	}
	m, err := s.message()
	switch {
	case err != nil: // its drain makes a dead letter of it
		return nil
	case f.Route != "" && m.Route != f.Route, f.Host != "" && m.Lane != f.Host:
		return nil
	default:
		return m
	}
}

// discard records one behind the other: the last one is recorded when the batch
// is complete.
func (p *purge) discard(ctx context.Context, m *relay.Message) error {
	p.Discarded++
	if p.filter.DryRun {
		return nil
	}
	if p.last != nil {
		if _, err := recordAt(ctx, p.b.nc, p.queue, *p.last); err != nil {
			p.Discarded--
			return fmt.Errorf("discard %s: %w", p.last.ID, err)
		}
	}
	p.last = &relay.Event{Sequence: m.Sequence, ID: m.ID, State: relay.Discarded, Reason: relay.ReasonOperator, Keyed: m.Key != ""}
	return nil
}

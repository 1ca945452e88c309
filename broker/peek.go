package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/theforeman/foreman-relay/relay"
)

// Peek lists the next pending messages, first those that were accepted first.
func (b *Broker) Peek(ctx context.Context, q relay.Queue, o relay.PeekOptions) (relay.MessageList, error) {
	list := relay.MessageList{Messages: []relay.MessageSummary{}}
	if !b.Known(q) {
		return list, relay.Refuse(relay.CodeNotFound, "there is no queue %s", q)
	}
	if o.Limit < 0 || o.Limit > relay.MaxMessageLimit {
		return list, relay.Refuse(relay.CodeMalformed, "limit is %d; it must be from 1 to %d", o.Limit, relay.MaxMessageLimit)
	}
	l := &listing{b: b, queue: q, keep: pendingRow, limit: orElse(o.Limit, relay.DefaultPeekLimit), budget: relay.MaxMessagesScanned}
	floor, err := b.floor(ctx, q)
	if err != nil {
		return list, unavailable(err)
	}
	if err := l.read(ctx, nil, floor+1, l.limit, nil); err != nil {
		return list, unavailable(err)
	}
	list.Messages = append(list.Messages, l.rows...)
	if l.budget == 0 {
		list.Incomplete = fmt.Sprintf("%d messages were looked at, and no more", relay.MaxMessagesScanned)
	}
	if o.Body {
		err = b.addBodies(ctx, q, &list)
	}
	return list, err
}

func pendingRow(m relay.MessageSummary) bool { return !m.State.Settled() }

// floor is that of a queue's account, once it has followed all events.
func (b *Broker) floor(ctx context.Context, q relay.Queue) (floor uint64, err error) {
	a := b.accounts[q.Destination]
	if err := a.current(ctx); err != nil {
		return 0, err
	}
	a.view(q, func(l *relay.Ledger) { floor = l.Floor() })
	return floor, nil
}

// addBodies reads the bodies of a peek, as far as one answer holds them.
func (b *Broker) addBodies(ctx context.Context, q relay.Queue, list *relay.MessageList) error {
	size := 0
	for i := range list.Messages {
		row := &list.Messages[i]
		s, err := getOne(ctx, b.nc, apiGet(journalStream(q)), row.Sequence)
		if err != nil && !errors.Is(err, errNotFound) { // settled and trimmed since
			return unavailable(err)
		}
		if err == nil {
			if err := b.addBody(ctx, row, s); err != nil {
				return unavailable(err)
			}
		}
		if size += len(row.Body); size > relay.MaxPeekBodies {
			list.Messages = list.Messages[:i]
			list.Incomplete = fmt.Sprintf("one answer holds %d MiB of bodies, and no more", relay.MaxPeekBodies>>20)
			return nil
		}
	}
	return nil
}

// addBody adds what is shown of a body.
func (b *Broker) addBody(ctx context.Context, row *relay.MessageSummary, s *stored) error {
	m, err := s.message()
	if err != nil || m.Object == "" {
		row.Body = s.data
		return nil //nolint:nilerr // what cannot be read is shown as it is
	}
	m.Open, row.BodyCut = contentOf(m, b.objects.read), true
	row.Body, err = excerpt(ctx, m)
	if errors.Is(err, relay.ErrDamaged) {
		return nil // audit names it
	}
	return err
}

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
		if size += row.Bytes; size > relay.MaxPeekBodies {
			list.Messages = list.Messages[:i]
			list.Incomplete = fmt.Sprintf("one answer holds %d MiB of bodies, and no more", relay.MaxPeekBodies>>20)
			return nil
		}
		s, err := get(ctx, b.nc, apiGet(journalStream(q)), &getRequest{Sequence: row.Sequence})
		if err != nil && !errors.Is(err, errNotFound) { // settled and trimmed since
			return unavailable(err)
		}
		if err == nil {
			row.Body = s.data
		}
	}
	return nil
}

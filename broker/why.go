package broker

import (
	"context"
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

// Why explains where a message stands.
func (b *Broker) Why(ctx context.Context, id string) (relay.Explanation, error) {
	m, err := b.Message(ctx, id)
	if err != nil {
		return relay.Explanation{}, err
	}
	q := relay.Queue{Organization: m.Organization, Destination: m.Destination}
	c := relay.Case{Message: m}
	if c.Queue, err = b.Queue(ctx, q); err != nil {
		return relay.Explanation{}, err
	}
	if !m.State.Settled() && m.InJournal {
		if err := b.lookAhead(ctx, q, &c); err != nil {
			return relay.Explanation{}, unavailable(err)
		}
	}
	return relay.Explain(c, time.Now()), nil
}

// lookAhead counts the pending messages of the lane before this one.
func (b *Broker) lookAhead(ctx context.Context, q relay.Queue, c *relay.Case) error {
	before := c.Message.Sequence - 1
	blocks := func(m relay.MessageSummary) bool { // of the other class, or not due yet: it holds up nothing
		return pendingRow(m) && m.State != relay.Scheduled && m.Urgent == c.Message.Urgent
	}
	l := &listing{b: b, queue: q, keep: blocks, budget: relay.MaxMessagesScanned}
	filters := messageFilters(q.Token(), relay.LaneToken(c.Message.Lane, c.Message.ID), "")
	if err := l.read(ctx, filters, c.Queue.Floor+1, relay.MaxAheadCounted, &before); err != nil || len(l.rows) == 0 {
		return err
	}
	c.Ahead, c.AheadCount = &l.rows[0], len(l.rows)
	return nil
}

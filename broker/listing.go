package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

// listing gathers rows of one queue's journal within a budget of envelopes.
type listing struct {
	b      *Broker
	queue  relay.Queue
	keep   func(relay.MessageSummary) bool
	limit  int
	budget int // envelopes that may still be read
	rows   []relay.MessageSummary
}

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
	if err := l.read(ctx, messageFilter(q.Token(), "", ""), floor+1, l.limit, nil); err != nil {
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

// Messages lists messages, the newest first, of all queues or one.
func (b *Broker) Messages(ctx context.Context, f relay.MessageFilter) (relay.MessageList, error) {
	list := relay.MessageList{Messages: []relay.MessageSummary{}}
	if err := f.Check(); err != nil {
		return list, err
	}
	if f.Queue != nil && !b.Known(*f.Queue) {
		return list, relay.Refuse(relay.CodeNotFound, "there is no queue %s", *f.Queue)
	}
	f.Host = strings.ToLower(strings.TrimSpace(f.Host)) // as lanes are kept
	limit, queues := orElse(f.Limit, relay.DefaultMessageLimit), b.chosen(f.Queue)
	budget := relay.MaxMessagesScanned / len(queues)
	for _, q := range queues {
		l := &listing{b: b, queue: q, limit: limit, budget: budget, keep: func(m relay.MessageSummary) bool {
			return (f.State == "" || m.State == f.State) && (f.Host == "" || m.Lane == f.Host)
		}}
		if err := l.newestFirst(ctx, f); err != nil {
			return list, unavailable(err)
		}
		list.Messages = append(list.Messages, l.rows...)
		if l.budget <= 0 && len(l.rows) < limit {
			list.Incomplete = fmt.Sprintf("%d messages of %s were looked at, and no more: there may be others that fit; --host, --route and --since make the search shorter", budget, q)
		}
	}
	slices.SortStableFunc(list.Messages, func(x, y relay.MessageSummary) int { return y.AcceptedAt.Compare(x.AcceptedAt) })
	list.Messages = list.Messages[:min(len(list.Messages), limit)]
	return list, nil
}

// newestFirst reads windows of the journal from its end, each larger than the
// one before it, until there is enough: a walk only goes forward.
func (l *listing) newestFirst(ctx context.Context, f relay.MessageFilter) error {
	first, last, err := l.span(ctx, f)
	if err != nil {
		return err
	}
	lane := ""
	if f.Host != "" {
		lane = relay.LaneToken(f.Host, "")
	}
	filter, narrow := messageFilter(l.queue.Token(), lane, f.Route), lane != "" || f.Route != ""
	size := uint64(max(1000, 4*l.limit))
	for last >= first && last > 0 && len(l.rows) < l.limit && l.budget > 0 {
		if !narrow { // each sequence is one envelope to read
			size = min(size, uint64(l.budget))
		}
		from := max(first, last-min(last, size)+1)
		newer := l.rows
		l.rows = nil
		if err := l.read(ctx, filter, from, int(size), &last); err != nil {
			return err
		}
		slices.Reverse(l.rows)
		l.rows = append(newer, l.rows...)
		last, size = from-1, size*4
	}
	l.rows = l.rows[:min(len(l.rows), l.limit)]
	return nil
}

// span is where in the journal there may be something that fits.
func (l *listing) span(ctx context.Context, f relay.MessageFilter) (first, last uint64, err error) {
	floor, err := l.b.floor(ctx, l.queue)
	if err != nil {
		return 0, 0, err
	}
	state, err := l.b.streamState(ctx, journalStream(l.queue))
	if err != nil {
		return 0, 0, err
	}
	first, last = state.FirstSeq, state.LastSeq
	if f.State != "" && !f.State.Settled() {
		first = max(first, floor+1)
	}
	if !f.Since.IsZero() {
		since, err := l.b.house.firstSince(ctx, journalStream(l.queue), f.Since)
		if err != nil {
			return 0, 0, err
		}
		first = max(first, since)
	}
	return first, last, nil
}

// read adds the rows from a sequence on, through another where one is given,
// until there are as many as wanted or the budget is used up.
func (l *listing) read(ctx context.Context, filter string, from uint64, wanted int, through *uint64) error {
	return l.b.walk(ctx, journalStream(l.queue), filter, from, func(s *stored) bool {
		if through != nil && s.sequence > *through {
			return false
		}
		l.budget--
		m, err := s.message()
		if err != nil {
			l.b.log.Error().Err(err).Str("queue", l.queue.String()).Uint64("sequence", s.sequence).Msg("a message cannot be read")
			return l.budget > 0
		}
		if row := l.b.summary(l.queue, m, s.size()); l.keep(row) {
			l.rows = append(l.rows, row)
		}
		return len(l.rows) < wanted && l.budget > 0
	})
}

// summary is a message's row, with its state from the account.
func (b *Broker) summary(q relay.Queue, m *relay.Message, size int) relay.MessageSummary {
	row := relay.MessageSummary{ID: m.ID, Organization: q.Organization, Destination: q.Destination, Route: m.Route, Lane: m.Lane,
		Sequence: m.Sequence, AcceptedAt: m.Stored.UTC(), Bytes: size}
	b.accounts[q.Destination].view(q, func(l *relay.Ledger) {
		row.State = l.State(m.Sequence)
		if wait, waits := l.Waiting(m.Sequence); waits {
			next := wait.Next
			row.Attempts, row.NextAttempt, row.Reason = wait.Attempts, &next, wait.Reason
		}
	})
	if !row.State.Settled() && b.underway(q, m.Sequence, row.NextAttempt) {
		row.State, row.NextAttempt = relay.Delivering, nil
	}
	return row
}

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
	l := &listing{b: b, queue: q, keep: pendingRow, budget: relay.MaxMessagesScanned}
	filter := laneFilter(q.Token(), relay.LaneToken(c.Message.Lane, c.Message.ID))
	if err := l.read(ctx, filter, c.Queue.Floor+1, relay.MaxAheadCounted, &before); err != nil || len(l.rows) == 0 {
		return err
	}
	c.Ahead, c.AheadCount = &l.rows[0], len(l.rows)
	return nil
}

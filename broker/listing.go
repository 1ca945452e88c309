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
			return (f.State == "" || m.State == f.State) && (f.Host == "" || m.Lane == f.Host) && (f.Route == "" || m.Route == f.Route)
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
	if sequences, ok := l.known(f.State); ok {
		return l.pick(ctx, sequences, first)
	}
	filters, narrow := l.filters(f)
	size := uint64(max(1000, 4*l.limit))
	for last >= first && last > 0 && len(l.rows) < l.limit && l.budget > 0 {
		if !narrow { // each sequence is one envelope to read
			size = min(size, uint64(l.budget))
		}
		from := max(first, last-min(last, size)+1)
		newer := l.rows
		l.rows = nil
		if err := l.read(ctx, filters, from, int(size), &last); err != nil {
			return err
		}
		slices.Reverse(l.rows)
		l.rows = append(newer, l.rows...)
		last, size = from-1, size*4
	}
	l.rows = l.rows[:min(len(l.rows), l.limit)]
	return nil
}

// filters are those of the subjects that fit; none, and not narrow, for all: the
// broker need not look at the subjects then.
func (l *listing) filters(f relay.MessageFilter) (filters []string, narrow bool) {
	switch {
	case f.Host != "":
		return messageFilters(l.queue.Token(), relay.LaneToken(f.Host, ""), f.Route), true
	case f.Route != "":
		return messageFilters(l.queue.Token(), "", f.Route), true
	default:
		return nil, false
	}
}

// known are the sequences of the messages in a state, where they are known
// without looking at the journal: few, and perhaps far apart in it.
func (l *listing) known(s relay.State) (sequences []uint64, ok bool) {
	if s == relay.Delivering {
		drain, _ := l.b.leases.holder(l.queue)
		return slices.Sorted(slices.Values(drain.status.Underway)), true
	}
	if s == relay.Scheduled {
		return l.b.accounts[l.queue.Destination].scheduled(l.queue), true
	}
	l.b.accounts[l.queue.Destination].view(l.queue, func(ledger *relay.Ledger) { sequences, ok = ledger.Sequences(s) })
	return sequences, ok
}

// pick adds the rows of these sequences, the last one first, as far as the
// journal holds them.
func (l *listing) pick(ctx context.Context, sequences []uint64, first uint64) error {
	for _, sequence := range slices.Backward(sequences) {
		if sequence < first || len(l.rows) == l.limit || l.budget == 0 {
			return nil
		}
		l.budget--
		s, err := getOne(ctx, l.b.nc, apiGet(journalStream(l.queue)), sequence)
		if errors.Is(err, errNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		l.add(s)
	}
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
func (l *listing) read(ctx context.Context, filters []string, from uint64, wanted int, through *uint64) error {
	return l.b.walk(ctx, journalStream(l.queue), filters, from, func(s *stored) bool {
		if through != nil && s.sequence > *through {
			return false
		}
		l.budget--
		l.add(s)
		return len(l.rows) < wanted && l.budget > 0
	})
}

// add makes a row of a message if it is one of those that are wanted.
func (l *listing) add(s *stored) {
	m, err := s.message()
	if err != nil {
		l.b.log.Error().Err(err).Str("queue", l.queue.String()).Uint64("sequence", s.sequence).Msg("a message cannot be read")
		return
	}
	if row := l.b.summary(l.queue, m, s.size()); l.keep(row) {
		l.rows = append(l.rows, row)
	}
}

// summary is a message's row, with its state from the account.
func (b *Broker) summary(q relay.Queue, m *relay.Message, size int) relay.MessageSummary {
	row := relay.MessageSummary{ID: m.ID, Organization: q.Organization, Destination: q.Destination, Route: m.Route, Lane: m.Lane,
		Sequence: m.Sequence, AcceptedAt: m.Stored.UTC(), Bytes: size, NotBefore: given(m.NotBefore), Expires: given(m.Expires), Urgent: m.Urgent,
		Encryption: m.Encryption, SealedTo: m.SealedTo}
	b.accounts[q.Destination].view(q, func(l *relay.Ledger) {
		row.State = l.State(m.Sequence)
		if wait, waits := l.Waiting(m.Sequence); waits {
			next := wait.Next
			row.Attempts, row.NextAttempt, row.Reason = wait.Attempts, &next, wait.Reason
		}
	})
	if row.State == relay.Queued && m.ScheduledAt(time.Now()) {
		row.State = relay.Scheduled
	}
	if !row.State.Settled() && b.underway(q, m.Sequence, row.NextAttempt) {
		row.State, row.NextAttempt = relay.Delivering, nil
	}
	return row
}

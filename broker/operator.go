package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/theforeman/foreman-relay/relay"
)

// The Broker is the operators' side too (relay.Operator): every answer is taken
// from the accounts after they have followed all events stored before the
// question.

// Queues lists all queues by organization and destination.
func (b *Broker) Queues(ctx context.Context) ([]relay.QueueStatus, error) {
	all := make([]relay.QueueStatus, 0, len(b.queues()))
	for _, q := range b.queues() {
		s, err := b.Queue(ctx, q)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(x, y relay.QueueStatus) int {
		return slices.Compare([]string{x.Organization, x.Destination}, []string{y.Organization, y.Destination})
	})
	return all, nil
}

// Queue is one row of the list.
func (b *Broker) Queue(ctx context.Context, q relay.Queue) (relay.QueueStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, b.options.acceptTimeout) // the store may hang with its disk
	defer cancel()
	if !b.Known(q) {
		return relay.QueueStatus{}, relay.Refuse(relay.CodeNotFound, "there is no queue %s", q)
	}
	a := b.accounts[q.Destination]
	if err := a.current(ctx); err != nil {
		return relay.QueueStatus{}, unavailable(err)
	}
	var counts relay.Counts
	var floor uint64
	a.view(q, func(l *relay.Ledger) { counts, floor = l.Counts(0), l.Floor() })
	stream, err := b.js.Stream(ctx, journalStream(q))
	if err != nil {
		return relay.QueueStatus{}, unavailable(err)
	}
	state := stream.CachedInfo().State
	drain, held := b.leases.holder(q)
	s := relay.QueueStatus{Organization: q.Organization, Destination: q.Destination,
		Accepted: state.LastSeq, Pending: state.LastSeq - min(state.LastSeq, counts.Totals.Sum()), Waiting: counts.Waiting,
		Delivering: uint64(max(0, drain.status.Delivering)), RetriesHeld: uint64(max(0, drain.status.Held)), Scheduled: a.scheduledCount(q),
		Bytes: state.Bytes + uint64(b.objects.queues.of(q).bytes.Load()), QuotaBytes: uint64(max(0, b.quota(q))), Floor: floor,
		Paused: drain.pause != nil, Pause: drain.pause, Breaker: drain.breaker, BreakerReason: drain.down, HeldBy: drain.status.HeldBy}
	if s.Pause == nil {
		s.Pause = b.withheld(q)
		s.Paused = s.Pause != nil
	}
	s.SetTotals(counts.Totals)
	if held {
		s.Drain, s.Epoch = drain.lease.Instance, drain.lease.Epoch
	}
	if since := drain.since.UTC(); !drain.since.IsZero() {
		s.BreakerSince = &since
	}
	s.Delivering = min(s.Delivering, s.Pending) // what a drain said a moment ago
	s.Scheduled = min(s.Scheduled, s.Pending)   // what was stored since the question
	if s.Pending > 0 {
		oldest, err := getOne(ctx, b.nc, apiGet(journalStream(q)), floor+1)
		if err == nil {
			s.OldestAgeSeconds = max(0, time.Since(oldest.at).Round(time.Millisecond).Seconds())
		}
	}
	return s, nil
}

// Message tells where a message stands: from the journal, its events, and its
// letter.
func (b *Broker) Message(ctx context.Context, id string) (relay.MessageStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, b.options.acceptTimeout) // the store may hang with its disk
	defer cancel()
	token, _, ok := relay.ParseID(id)
	q, known := b.queues()[token]
	if !ok || !known {
		return relay.MessageStatus{}, relay.Refuse(relay.CodeNotFound, "there is no message %q", id)
	}
	s := relay.MessageStatus{ID: id, Organization: q.Organization, Destination: q.Destination,
		State: relay.Queued, Events: []relay.EventStatus{}}
	m, err := b.find(ctx, id)
	switch {
	case err == nil:
		describe(&s, m, b.choice)
	case !errors.Is(err, errNotFound):
		return s, unavailable(err)
	}
	if err := b.history(ctx, q, &s); err != nil {
		return s, unavailable(err)
	}
	if !s.InJournal && len(s.Events) == 0 {
		return s, relay.Refuse(relay.CodeNotFound, "there is no message %q, or it was settled so long ago that its record is gone", id)
	}
	if s.State == relay.Queued && s.NotBefore != nil && s.NotBefore.After(time.Now()) {
		s.State = relay.Scheduled
	}
	if !s.State.Settled() && b.underway(q, s.Sequence, s.NextAttempt) {
		s.State, s.NextAttempt = relay.Delivering, nil
	}
	return s, nil
}

// underway says whether a message is being attempted, by what the drain said
// last; not one that is recorded to be tried later.
func (b *Broker) underway(q relay.Queue, sequence uint64, next *time.Time) bool {
	drain, _ := b.leases.holder(q)
	return slices.Contains(drain.status.Underway, sequence) && (next == nil || !next.After(time.Now()))
}

func describe(s *relay.MessageStatus, m *relay.Message, c Choice) {
	at := m.Stored.UTC()
	s.InJournal, s.Route, s.Lane, s.Key, s.Sequence, s.AcceptedAt = true, m.Route, m.Lane, m.Key, m.Sequence, &at
	s.Bytes, s.Digest, s.ReplayedFrom, s.Durability = int(m.Length()), m.Digest, m.ReplayedFrom, c.String()
	s.NotBefore, s.Expires, s.Urgent, s.Sender = given(m.NotBefore), given(m.Expires), m.Urgent, m.Sender
	s.Encryption, s.SealedTo = m.Encryption, m.SealedTo
	if m.Sealed != "" {
		s.Credentials = "sealed"
	}
	if m.Standing {
		s.Credentials = "sealed, of the handshake"
	}
}

// given is a time that a message was given; nil: none.
func given(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// history adds the events of the message: the last one that changed anything is
// its state. It is a small ledger of one message.
func (b *Broker) history(ctx context.Context, q relay.Queue, s *relay.MessageStatus) error {
	one := relay.NewLedger()
	return scan(ctx, b.nc, apiGet(eventStream(q.Destination)), eventSubject(q, s.ID), 1, func(m *stored) error {
		e, err := relay.DecodeEvent(m.data)
		if err != nil || e.ID != s.ID || (s.Sequence != 0 && e.Sequence != s.Sequence) {
			return nil //nolint:nilerr // another message's, or unreadable: the accounts have logged it
		}
		if b.accounts[q.Destination].refuses(q, e) {
			return nil // of a message that had this id and sequence before a power cut took it
		}
		s.Sequence = e.Sequence
		s.Events = append(s.Events, eventStatus(e, m.at))
		if !one.Apply(e, m.sequence) {
			return nil
		}
		if e.Ambiguous {
			s.Ambiguous++
		}
		s.State, s.Reason, s.Attempts, s.NextAttempt = e.State, e.Reason, max(s.Attempts, e.Attempt), nil
		if e.State == relay.Waiting {
			next := e.Next
			s.NextAttempt = &next
		}
		if e.Link != "" {
			s.ReplacedBy = e.Link
		}
		return nil
	})
}

func eventStatus(e relay.Event, at time.Time) relay.EventStatus {
	s := relay.EventStatus{At: at.UTC(), State: e.State, Attempt: e.Attempt, Status: e.Status, Reason: e.Reason, Detail: e.Detail, Epoch: e.Epoch, Ambiguous: e.Ambiguous}
	if !e.Next.IsZero() {
		next := e.Next
		s.Next = &next
	}
	return s
}

func (b *Broker) chosen(q *relay.Queue) []relay.Queue {
	if q != nil {
		return []relay.Queue{*q}
	}
	all := make([]relay.Queue, 0, len(b.queues()))
	for _, q := range b.queues() {
		all = append(all, q)
	}
	slices.SortFunc(all, func(x, y relay.Queue) int { // as Queues lists them
		return slices.Compare([]string{x.Organization, x.Destination}, []string{y.Organization, y.Destination})
	})
	return all
}

func unavailable(err error) error {
	var known *relay.Error
	if errors.As(err, &known) {
		return known
	}
	return &relay.Error{Code: relay.CodeUnavailable, Err: err, Detail: "the broker does not answer as it should"}
}

// streamState is what a stream holds.
func (b *Broker) streamState(ctx context.Context, name string) (jetstream.StreamState, error) {
	s, err := b.js.Stream(ctx, name)
	if err != nil {
		return jetstream.StreamState{}, fmt.Errorf("look at stream %s: %w", name, err)
	}
	info, err := s.Info(ctx, jetstream.WithDeletedDetails(true))
	if err != nil {
		return jetstream.StreamState{}, fmt.Errorf("look at stream %s: %w", name, err)
	}
	return info.State, nil
}

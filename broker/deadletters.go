package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/theforeman/foreman-relay/relay"
)

// A dead letter is the message, whole, with the event that ended it and those
// before. It is buried by the edge when it sees that event: the drain needs no
// right to write letters, and a crash in between buries again. One id has one
// letter.

// bury copies a message to the dead letters of its organization. A message that
// the journal no longer has cannot be buried; audit names it.
func (b *Broker) bury(ctx context.Context, q relay.Queue, e relay.Event, h *relay.History) error {
	s, err := getOne(ctx, b.nc, apiGet(journalStream(q)), e.Sequence)
	if errors.Is(err, errNotFound) {
		b.log.Error().Str("id", e.ID).Uint64("sequence", e.Sequence).Msg("a dead message is gone from the journal; no letter of it can be kept")
		return nil
	}
	if err != nil {
		return err
	}
	msg := &nats.Msg{Subject: deadSubject(q, e.ID), Header: envelopeOf(s.header)}
	msg.Header.Set(hdrDeadSequence, strconv.FormatUint(e.Sequence, 10))
	if s.header.Get(hdrDeadReason) == "" { // else it was imported, and says itself how it died
		if err := deathOf(e, h).write(msg.Header); err != nil {
			return err
		}
	}
	expectNew(msg, msg.Subject)
	_, err = publish(ctx, b.nc, msg, s.data)
	var refused *pubError
	if errors.As(err, &refused) && refused.ErrCode == codeWrongLastSequence {
		return nil // buried before a crash
	}
	if err != nil {
		return fmt.Errorf("bury %s: %w", e.ID, err)
	}
	b.tellBuried(&stored{header: msg.Header, data: s.data, at: e.Recorded})
	return nil
}

// tellBuried tells of a letter that was made.
func (b *Broker) tellBuried(s *stored) {
	if b.options.Buried == nil {
		return
	}
	l, m, err := s.letter()
	if err != nil { // kept all the same; whoever lists it is told what is wrong with it
		return
	}
	l.Body = nil
	b.options.Buried(l, m.RequestID)
}

// deathOf is the death that an event tells. One that no answer led to, for
// example by age, shows the last answer there was.
func deathOf(e relay.Event, h *relay.History) death {
	d := death{reason: e.Reason, at: e.Recorded, attempts: e.Attempt, status: e.Status, detail: e.Detail, history: h}
	if h == nil || e.Status != 0 || e.Detail != "" {
		return d
	}
	for _, earlier := range slices.Backward(h.Events) {
		if earlier.Status != 0 || earlier.Detail != "" {
			d.status, d.detail = earlier.Status, earlier.Detail
			break
		}
	}
	return d
}

// unbury removes the letter of a message that was replayed or discarded.
func (b *Broker) unbury(ctx context.Context, q relay.Queue, id string) error {
	s, err := b.js.Stream(ctx, deadStream(q.Organization))
	if err != nil {
		return err
	}
	return s.Purge(ctx, jetstream.WithPurgeSubject(deadSubject(q, id)))
}

// DeadLetters lists letters without bodies: of all queues the oldest death
// first, of one queue in the order in which they were buried.
func (b *Broker) DeadLetters(ctx context.Context, f relay.DeadLetterFilter) ([]relay.DeadLetter, error) {
	if err := f.Check(); err != nil {
		return nil, err
	}
	limit := orElse(f.Limit, relay.DefaultDeadLetterLimit)
	letters := []relay.DeadLetter{}
	for _, q := range b.chosen(f.Queue) {
		found := 0
		err := b.eachLetter(ctx, q, f, func(l relay.DeadLetter) bool {
			letters = append(letters, l)
			found++
			return found < limit
		})
		if err != nil {
			return nil, unavailable(err)
		}
	}
	if f.Queue == nil {
		slices.SortStableFunc(letters, func(x, y relay.DeadLetter) int { return x.DiedAt.Compare(y.DiedAt) })
	}
	return letters[:min(len(letters), limit)], nil
}

// eachLetter visits the letters of a queue that the filter lets through, until
// visit wants no more.
func (b *Broker) eachLetter(ctx context.Context, q relay.Queue, f relay.DeadLetterFilter, visit func(relay.DeadLetter) bool) error {
	if err := b.settleGraves(ctx, q); err != nil {
		return err
	}
	return b.walk(ctx, deadStream(q.Organization), []string{deadSubject(q, "*")}, f.After+1, func(s *stored) bool {
		l, _, err := s.letter()
		if err != nil {
			b.log.Error().Err(err).Uint64("letter", s.sequence).Msg("a dead letter cannot be read")
			return true
		}
		l.Body = nil
		return !f.Matches(l) || visit(l)
	})
}

// Causes groups letters by what they died of.
func (b *Broker) Causes(ctx context.Context, f relay.DeadLetterFilter) (relay.CauseReport, error) {
	if f.Limit > relay.MaxCauses {
		return relay.CauseReport{}, relay.Refuse(relay.CodeMalformed, "limit is %d; it must be from 1 to %d", f.Limit, relay.MaxCauses)
	}
	var causes relay.Causes
	for _, q := range b.chosen(f.Queue) {
		err := b.eachLetter(ctx, q, f, func(l relay.DeadLetter) bool {
			causes.Add(l)
			return true
		})
		if err != nil {
			return relay.CauseReport{}, unavailable(err)
		}
	}
	return causes.Report(f.Limit), nil
}

// settleGraves waits until the letters follow the events stored so far.
func (b *Broker) settleGraves(ctx context.Context, q relay.Queue) error {
	if !b.Known(q) {
		return relay.Refuse(relay.CodeNotFound, "there is no queue %s", q)
	}
	if err := b.accounts[q.Destination].current(ctx); err != nil {
		return err
	}
	return b.house.digNow(ctx, q)
}

// DeadLetter is one letter with its body and its history.
func (b *Broker) DeadLetter(ctx context.Context, id string) (relay.DeadLetter, error) {
	o, err := b.openLetter(ctx, id)
	if err != nil {
		return relay.DeadLetter{}, err
	}
	l := o.DeadLetter
	if l.History, err = o.stored.history(); err != nil {
		return l, unavailable(err)
	}
	return l, nil
}

// openedLetter is a letter with its message, whole.
type openedLetter struct {
	relay.DeadLetter
	message *relay.Message
	stored  *stored
	queue   relay.Queue
}

// openLetter reads the letter of an id, after all that was settled before. It is
// the one place where a letter's body is read.
func (b *Broker) openLetter(ctx context.Context, id string) (*openedLetter, error) {
	token, _, ok := relay.ParseID(id)
	q, known := b.queues()[token]
	if !ok || !known {
		return nil, noLetter(id)
	}
	if err := b.settleGraves(ctx, q); err != nil {
		return nil, unavailable(err)
	}
	s, err := get(ctx, b.nc, apiGet(deadStream(q.Organization)), &getRequest{LastFor: deadSubject(q, id)})
	if errors.Is(err, errNotFound) {
		return nil, noLetter(id)
	}
	if err != nil {
		return nil, unavailable(err)
	}
	l, m, err := s.letter()
	if err == nil && m.Object != "" {
		err = b.addLetterBody(ctx, &l, m)
	}
	if err != nil {
		return nil, unavailable(err)
	}
	return &openedLetter{DeadLetter: l, message: m, stored: s, queue: q}, nil
}

// unreadable is why the body of a letter cannot be had: a damaged one is a fault of
// this letter alone, and no reason to leave the others.
func unreadable(id string, err error) error {
	if errors.Is(err, relay.ErrDamaged) {
		return &relay.Error{Code: relay.CodeConflict, Detail: fmt.Sprintf("the body of letter %s cannot be read: %v; discard the letter, or bring its file back", id, err)}
	}
	return unavailable(err)
}

func noLetter(id string) error {
	return relay.Refuse(relay.CodeNotFound, "there is no dead letter %q", id)
}

// Discard removes a letter for good.
func (b *Broker) Discard(ctx context.Context, id string) error {
	l, err := b.openLetter(ctx, id)
	if err != nil {
		return err
	}
	return b.resolve(ctx, l.queue, relay.Event{Sequence: l.Sequence, ID: id, State: relay.Discarded, Reason: relay.ReasonOperator})
}

// resolve records what became of a message, and waits until the letters follow.
func (b *Broker) resolve(ctx context.Context, q relay.Queue, e relay.Event) error {
	if err := b.withdrawn(ctx, q, e); err != nil {
		return err
	}
	if err := b.house.digNow(ctx, q); err != nil {
		return unavailable(err)
	}
	return nil
}

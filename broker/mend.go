package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

// voidRoute marks a message that only holds the place of one that was lost.
const voidRoute = "void"

// mendTails repairs what a power cut can leave behind: an event on the disk whose
// message is not there any more. The message was never answered (it was not on
// the disk), but a drain may have delivered it in that moment. Its sequence must
// not be given to another message, which would pass for settled: the place is
// filled, and what was not settled is discarded.
func (b *Broker) mendTails(ctx context.Context) error {
	if b.begun == 0 { // the disk is full, and a write would wait for ever: the start of the store that follows does it
		return nil
	}
	for _, q := range b.queues() {
		if err := b.mendTail(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

func (b *Broker) mendTail(ctx context.Context, q relay.Queue) error {
	state, err := b.streamState(ctx, journalStream(q))
	if err != nil {
		return err
	}
	var known uint64
	b.accounts[q.Destination].view(q, func(l *relay.Ledger) { known = l.Highest() })
	if err := b.finishFilling(ctx, q, state.LastSeq); err != nil {
		return fmt.Errorf("mend the journal of %s at its end: %w", q, err)
	}
	for sequence := state.LastSeq + 1; sequence <= known; sequence++ {
		if err := b.fill(ctx, q, sequence); err != nil {
			return fmt.Errorf("mend the journal of %s at %d: %w", q, sequence, err)
		}
	}
	b.crowds.of(q).startAt(max(state.LastSeq, known))
	if known <= state.LastSeq {
		return nil
	}
	b.log.Warn().Str("queue", q.String()).Uint64("from", state.LastSeq+1).Uint64("to", known).
		Msg("messages that were never answered were lost by the disk; their places are filled")
	return b.sync(ctx)
}

// finishFilling does what an earlier start had begun when it was cut off: a place
// that is filled and not settled would be delivered.
func (b *Broker) finishFilling(ctx context.Context, q relay.Queue, last uint64) error {
	for sequence := last; sequence > 0; sequence-- {
		s, err := getOne(ctx, b.nc, apiGet(journalStream(q)), sequence)
		if errors.Is(err, errNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		name, err := parseMessageSubject(s.subject)
		if err != nil || name.route != voidRoute {
			return nil //nolint:nilerr // a message, whatever it is
		}
		if err := b.discardVoid(ctx, q, sequence, name.id); err != nil {
			return err
		}
	}
	return nil
}

func (b *Broker) fill(ctx context.Context, q relay.Queue, sequence uint64) error {
	m := &relay.Message{ID: relay.FreshID(q), Queue: q, Route: voidRoute, Received: time.Now(), Digest: relay.DigestOf(nil)}
	if err := storeMessage(ctx, b.nc, m, false); err != nil {
		return err
	}
	return b.discardVoid(ctx, q, sequence, m.ID)
}

func (b *Broker) discardVoid(ctx context.Context, q relay.Queue, sequence uint64, id string) error {
	a := b.accounts[q.Destination]
	settled := false
	a.view(q, func(l *relay.Ledger) { settled = l.Settled(sequence) })
	if settled {
		return nil
	}
	_, err := recordAt(ctx, b.nc, q, relay.Event{Sequence: sequence, ID: id, State: relay.Discarded, Reason: relay.ReasonMissing})
	return err
}

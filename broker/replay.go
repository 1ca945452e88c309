package broker

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

// Replay accepts a letter again, unless a newer message says what is so now. The new message's id follows from the letter's
// alone, so that a letter has one replay: one that was cut short can be given
// again, and another edit of it is refused, because the first one may have been
// delivered.
func (b *Broker) Replay(ctx context.Context, id string, e relay.Edit) (relay.Receipt, error) {
	l, err := b.openLetter(ctx, id)
	if err != nil {
		return relay.Receipt{}, err
	}
	m := l.message
	m.Origin = orElse(m.Origin, l.Sequence)
	if by, outdated, err := b.outdated(ctx, l.queue, m); err != nil || outdated {
		if err != nil {
			return relay.Receipt{}, unavailable(err)
		}
		return b.replaceLetter(ctx, l.queue, l.DeadLetter, by)
	}
	if err := bringIn(ctx, m, e); err != nil {
		return relay.Receipt{}, err
	}
	if err := e.Apply(m, b.route(l.queue, m.Route)); err != nil {
		return relay.Receipt{}, err
	}
	m.ID, m.ReplayedFrom, m.Received, m.SettledBefore = relay.ReplayID(l.queue, id), id, time.Now(), false
	m.NotBefore, m.Expires = time.Time{}, time.Time{} // what was too late is wanted now
	if m.Standing && b.options.Credential != nil {    // they may be what it died of
		m.Attach(b.options.Credential(l.queue))
	}
	// What is stored is recorded too, whoever waits no more for the answer.
	timeout := b.options.acceptTimeout
	if large(m) {
		timeout = replayTimeout
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	receipt, first, err := b.acceptReplay(ctx, m)
	if err != nil {
		return receipt, err
	}
	err = b.resolve(ctx, l.queue, relay.Event{Sequence: l.Sequence, ID: id, State: relay.Superseded, Reason: relay.ReasonReplayed, Link: m.ID})
	if err == nil && first != nil && !sameRequest(first, m) {
		return relay.Receipt{}, relay.Refuse(relay.CodeConflict,
			"the letter %s was replayed before, with another edit, as %s: that one counts, and the letter is superseded by it", id, m.ID)
	}
	return receipt, err
}

// replayTimeout bounds the storing of a large body once more.
const replayTimeout = 2 * time.Minute

// maxEdited is how large a body may be in which values are set, in bytes.
const maxEdited = 8 << 20

// bringIn reads a body that is kept in pieces, to have values set in it.
func bringIn(ctx context.Context, m *relay.Message, e relay.Edit) error {
	if m.Object == "" || len(e.Set) == 0 {
		return nil
	}
	if m.Size > maxEdited {
		return relay.Refuse(relay.CodeTooLarge, "the body has %d bytes: values can be set in one of %d at most", m.Size, maxEdited)
	}
	body, err := m.Load(ctx)
	if err != nil {
		return unreadable(m.ID, err)
	}
	m.Body, m.Object, m.Size, m.Open = body, "", 0, nil
	return nil
}

// route is what is known of a route by its name; of one that is not known, the
// name alone.
func (b *Broker) route(q relay.Queue, name string) relay.Route {
	for _, r := range b.options.Routes {
		if r.Name == name && r.Destination == q.Destination {
			return r
		}
	}
	return relay.Route{Name: name}
}

// acceptReplay stores the message; first is the one that was stored before under
// its id.
func (b *Broker) acceptReplay(ctx context.Context, m *relay.Message) (r relay.Receipt, first *relay.Message, err error) {
	if large(m) {
		r, err = b.acceptLarge(ctx, m, func(ctx context.Context, kept *relay.Message) (relay.Receipt, error) {
			var receipt relay.Receipt
			var err error
			receipt, first, err = b.acceptReplay(ctx, kept)
			return receipt, err
		})
		return r, first, err
	}
	if err := b.enter(len(m.Body)); err != nil {
		return r, nil, err
	}
	defer b.leave(len(m.Body))
	err = b.store(ctx, m)
	accepted := m.Received
	var taken *storedBefore
	switch {
	case errors.As(err, &taken):
		first, accepted = taken.Message, taken.Received
	case err != nil:
		return r, nil, refusal(err, m)
	}
	if err := b.sync(ctx); err != nil {
		return r, nil, unknown(err)
	}
	return b.receipt(m, accepted, first != nil), first, nil
}

// sameRequest says whether two messages ask the same of the destination.
func sameRequest(x, y *relay.Message) bool {
	return x.Digest == y.Digest && x.ContentType == y.ContentType && x.Accept == y.Accept && x.Lane == y.Lane && maps.Equal(x.Header, y.Header)
}

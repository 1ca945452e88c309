package broker

import (
	"context"
	"errors"
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

// acceptTimeout bounds the storing of one message: a sick disk gives a 503, not
// a client that hangs.
const acceptTimeout = 10 * time.Second

// fullRetryAfter is what a sender is told who met a full queue or disk.
const fullRetryAfter = time.Minute

// Accept stores a message and returns when it is as durable as the receipt says
// (relay.Intake).
func (b *Broker) Accept(ctx context.Context, m *relay.Message) (relay.Receipt, error) {
	if !b.Known(m.Queue) {
		return relay.Receipt{}, relay.Refuse(relay.CodeNotFound, "there is no queue %s", m.Queue)
	}
	leave, err := b.squeeze(m.Queue)
	if err != nil {
		return b.unlessStored(ctx, m, err)
	}
	defer leave()
	if large(m) {
		return b.acceptLarge(ctx, m, b.accept)
	}
	if b.objects.queues.of(m.Queue).crowded.Load() { // the journal's own limit knows nothing of the pieces
		return relay.Receipt{}, full(m.Queue, nil)
	}
	return b.accept(ctx, m)
}

// unlessStored refuses a message, unless it is stored already: its sender gets the
// first receipt.
func (b *Broker) unlessStored(ctx context.Context, m *relay.Message, refused error) (relay.Receipt, error) {
	if m.Key == "" {
		return relay.Receipt{}, refused
	}
	r, err := b.Again(ctx, m)
	if relay.CodeOf(err) == relay.CodeNotFound {
		return r, refused
	}
	return r, err
}

// accept stores a message whose body is in it, or in pieces.
func (b *Broker) accept(ctx context.Context, m *relay.Message) (relay.Receipt, error) {
	if err := b.enter(len(m.Body)); err != nil {
		return relay.Receipt{}, err
	}
	defer b.leave(len(m.Body))
	ctx, cancel := context.WithTimeout(ctx, b.options.acceptTimeout)
	defer cancel()
	m.SettledBefore = m.Key != "" && b.keys.has(m.ID)
	err := b.store(ctx, m)
	var taken *storedBefore
	switch {
	case errors.As(err, &taken):
		return b.again(ctx, m, taken)
	case err != nil:
		return relay.Receipt{}, refusal(err, m)
	}
	if err := b.sync(ctx); err != nil {
		return relay.Receipt{}, unknown(err)
	}
	b.remember(m)
	return b.receipt(m, m.Received, false), nil
}

// storedBefore: the id is in the journal already.
type storedBefore struct{ *relay.Message }

func (*storedBefore) Error() string { return "a message with this id is stored already" }

// store publishes once; a full journal is trimmed and tried once more.
func (b *Broker) store(ctx context.Context, m *relay.Message) error {
	ctx, cancel := b.health.bound(ctx)
	defer cancel()
	keyed := m.Key != "" || m.ReplayedFrom != ""
	err := told(ctx, storeMessage(ctx, b.nc, m, keyed))
	var refused *pubError
	switch {
	case err == nil:
		b.noted(m)
		return nil
	case !errors.As(err, &refused):
		return err
	}
	if keyed && (refused.ErrCode == codeWrongLastSequence || refused.full()) {
		first, lookErr := b.find(ctx, m.ID)
		if lookErr == nil {
			return &storedBefore{first}
		}
		if !errors.Is(lookErr, errNotFound) {
			return lookErr
		}
	}
	if refused.full() && b.house.makeRoom(ctx, m.Queue) {
		if err = storeMessage(ctx, b.nc, m, keyed); err == nil {
			b.noted(m)
		}
	}
	return err
}

// find reads a message by its id.
func (b *Broker) find(ctx context.Context, id string) (*relay.Message, error) {
	queue, own, ok := relay.ParseID(id)
	q, known := b.queues()[queue]
	if !ok || !known {
		return nil, errNotFound
	}
	s, err := get(ctx, b.nc, apiGet(journalStream(q)), &getRequest{LastFor: idFilter(queue, own)})
	if err != nil {
		return nil, err
	}
	return s.message()
}

// Again is the first receipt of a message that is stored already (relay.Intake).
func (b *Broker) Again(ctx context.Context, m *relay.Message) (relay.Receipt, error) {
	most, cancel := context.WithTimeout(ctx, b.options.acceptTimeout)
	defer cancel()
	first, err := b.find(most, m.ID)
	switch {
	case errors.Is(err, errNotFound):
		return relay.Receipt{}, relay.Refuse(relay.CodeNotFound, "there is no message %q", m.ID)
	case err != nil:
		return relay.Receipt{}, unavailable(err)
	case m.Open != nil: // its digest is not known before it has come, which may take longer
		if err := b.objects.enter(); err != nil {
			return relay.Receipt{}, err
		}
		defer b.objects.leave()
		return b.compare(ctx, m, first)
	}
	return b.again(most, m, &storedBefore{first})
}

// again answers a known key: the first receipt if it is the same request, with
// the state in which the message is now. The first one may have been written a
// moment ago and not be on the disk yet, so this answer waits for a barrier too.
func (b *Broker) again(ctx context.Context, m *relay.Message, first *storedBefore) (relay.Receipt, error) {
	if first.Digest != m.Digest {
		return relay.Receipt{}, relay.Refuse(relay.CodeKeyConflict,
			"this key was used for another body; a new request needs a key of its own")
	}
	if first.Lane != m.Lane {
		return relay.Receipt{}, relay.Refuse(relay.CodeKeyConflict,
			"this key was used for another host or ordering key; a new request needs a key of its own")
	}
	if first.Route != m.Route {
		return relay.Receipt{}, relay.Refuse(relay.CodeKeyConflict,
			"this key was used for a request of another kind; a new request needs a key of its own")
	}
	b.noted(first.Message) // that it was stored may not have been confirmed
	if err := b.sync(ctx); err != nil {
		return relay.Receipt{}, unknown(err)
	}
	b.remember(first.Message) // its own request may have got no answer
	r := b.receipt(first.Message, first.Received, true)
	r.State = b.present(first.Message)
	return r, nil
}

// present is where a message stands by the events that the accounts have
// followed, at most moments behind. Whether it is being attempted is not asked:
// that would wait for whoever holds the leases, and a sender waits for the disk
// alone.
func (b *Broker) present(m *relay.Message) (s relay.State) {
	b.accounts[m.Queue.Destination].view(m.Queue, func(l *relay.Ledger) { s = l.State(m.Sequence) })
	if s == relay.Queued && m.ScheduledAt(time.Now()) {
		return relay.Scheduled
	}
	return s
}

func (b *Broker) receipt(m *relay.Message, accepted time.Time, replayed bool) relay.Receipt {
	return relay.Receipt{ID: m.ID, State: relay.Accepted, Queue: m.Queue, Durability: b.choice.String(),
		AcceptedAt: accepted.UTC(), Location: "/relay/v1/messages/" + m.ID, Replayed: replayed}
}

// refusal tells the sender why a message was not stored, or that nobody knows.
func refusal(err error, m *relay.Message) error {
	var refused *pubError
	var already *relay.Error
	switch {
	case errors.As(err, &already):
		return already
	case errors.Is(err, relay.ErrDamaged):
		return &relay.Error{Code: relay.CodeConflict, Detail: "the body cannot be stored again: " + err.Error()}
	case !errors.As(err, &refused):
		return unknown(err)
	case refused.full():
		return full(m.Queue, err)
	case refused.ErrCode == codeWrongLastSequence, refused.ErrCode == codeExpectInProcess:
		return &relay.Error{Code: relay.CodeInFlight, RetryAfter: time.Second, Err: err,
			Detail: "a request with this key is being stored at this moment"}
	case refused.ErrCode == codeTooLarge:
		return &relay.Error{Code: relay.CodeTooLarge, Err: err, Detail: "the message is too large to be stored"}
	case refused.ErrCode == codeTooManyInbound:
		return &relay.Error{Code: relay.CodeTooManyRequests, RetryAfter: time.Second, Err: err,
			Detail: "too many requests at one time; nothing was stored"}
	default:
		return &relay.Error{Code: relay.CodeUnavailable, RetryAfter: 5 * time.Second, Err: err,
			Detail: "the message could not be stored"}
	}
}

// full is the answer where a queue has used up its quota.
func full(q relay.Queue, err error) error {
	return &relay.Error{Code: relay.CodeQuotaFull, RetryAfter: fullRetryAfter, Err: err,
		Detail: "queue " + q.String() + " is full: what waits in it has to be delivered first, or its quota raised"}
}

// unknown is the answer when a message may or may not be stored.
func unknown(err error) error {
	return &relay.Error{Code: relay.CodeUnavailable, RetryAfter: 5 * time.Second, Err: err,
		Detail: "storing the message was not confirmed; send it again with the same key"}
}

package broker

import (
	"context"
	"errors"
	"reflect"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/theforeman/foreman-relay/relay"
)

// An exported letter is imported through the journal, so that the ledger stays
// exact: it is accepted as a message that says itself how it died, and settled
// as dead at once. A drain that meets it before settles it too, and does not
// deliver it. Its id stays.

// ExportDeadLetter is a letter with all that ImportDeadLetter needs.
func (b *Broker) ExportDeadLetter(ctx context.Context, id string) (relay.ExportedLetter, error) {
	l, err := b.openLetter(ctx, id)
	if err != nil {
		return relay.ExportedLetter{}, err
	}
	x, err := l.export(ctx)
	if err != nil {
		return x, unreadable(id, err)
	}
	return x, nil
}

// export is the same for a body in the message and for one in pieces: where it is
// kept is the business of each relay.
func (l *openedLetter) export(ctx context.Context) (relay.ExportedLetter, error) {
	x := relay.ExportedLetter{Version: relay.ExportVersion, ID: l.ID, Queue: l.queue, Reason: l.Reason, DiedAt: l.DiedAt, Attempts: l.Attempts,
		Status: l.Status, Detail: l.Detail, Envelope: map[string]string{}}
	if l.message.Length() > relay.MaxExportBody {
		return x, relay.Refuse(relay.CodeTooLarge, "letter %s: its body has %d bytes; one of %d at most can be exported", l.ID, l.message.Length(), relay.MaxExportBody)
	}
	body, err := l.message.Load(ctx)
	if err != nil {
		return x, err
	}
	x.SetBody(body)
	plain := *l.message
	plain.Body, plain.Object, plain.Size, plain.Open = body, "", 0, nil
	envelope, err := relay.EncodeEnvelope(&plain)
	if err != nil {
		return x, err
	}
	for name, values := range envelope {
		x.Envelope[name] = values[0]
	}
	if l.stored.header.Get(hdrDeadHistory) != "" {
		x.History, err = l.stored.history()
	}
	return x, err
}

// ImportDeadLetter makes an exported letter again.
func (b *Broker) ImportDeadLetter(ctx context.Context, x relay.ExportedLetter) (relay.ImportedLetter, error) {
	i, err := b.newImport(x)
	if err != nil {
		return relay.ImportedLetter{}, err
	}
	if err := b.enter(len(i.body)); err != nil {
		return relay.ImportedLetter{}, err
	}
	defer b.leave(len(i.body))
	b.importing.Lock()
	defer b.importing.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.options.acceptTimeout)
	defer cancel()
	done := relay.ImportedLetter{ID: x.ID, Queue: x.Queue}
	there, err := b.openLetter(ctx, x.ID)
	switch {
	case err == nil:
		done.Known, done.Sequence = true, there.Sequence
		return done, same(ctx, there, x)
	case relay.CodeOf(err) != relay.CodeNotFound:
		return done, err
	}
	if done.Sequence, err = i.acceptWhole(ctx); err != nil {
		return done, err
	}
	return done, b.resolve(ctx, x.Queue, relay.Event{Sequence: done.Sequence, ID: x.ID, State: relay.Dead, Attempt: x.Attempts,
		Status: x.Status, Reason: x.Reason, Detail: x.Detail, Keyed: i.message.Key != ""})
}

// same refuses a letter that differs from the one that is there.
func same(ctx context.Context, there *openedLetter, x relay.ExportedLetter) error {
	kept, err := there.export(ctx)
	if err != nil {
		return unavailable(err)
	}
	if string(kept.Body()) != string(x.Body()) || !reflect.DeepEqual(kept.Envelope, x.Envelope) || kept.Reason != x.Reason || !kept.DiedAt.Equal(x.DiedAt) {
		return relay.Refuse(relay.CodeConflict, "there is another dead letter %s, with other contents or another death; replay or discard that one first", x.ID)
	}
	return nil
}

// letterImport is an exported letter that fits this relay.
type letterImport struct {
	b       *Broker
	header  nats.Header
	body    []byte
	message *relay.Message
}

// newImport refuses what is no letter of a queue of this relay.
func (b *Broker) newImport(x relay.ExportedLetter) (*letterImport, error) {
	if x.Version != relay.ExportVersion {
		return nil, relay.Refuse(relay.CodeInvalid, "exported letter: version %d, this program reads %d", x.Version, relay.ExportVersion)
	}
	if !b.Known(x.Queue) {
		return nil, relay.Refuse(relay.CodeNotFound, "letter %s is of queue %s, which this relay does not have", x.ID, x.Queue)
	}
	if err := relay.CheckLetter(x.Reason); err != nil {
		return nil, err
	}
	i := &letterImport{b: b, body: x.Body(), header: nats.Header{}}
	if len(i.body) > relay.MaxExportBody {
		return nil, relay.Refuse(relay.CodeTooLarge, "letter %s: its body has %d bytes, more than %d", x.ID, len(i.body), relay.MaxExportBody)
	}
	for name, value := range x.Envelope {
		if !strings.HasPrefix(name, "Relay-") || strings.HasPrefix(name, hdrDead) || !plainHeader(name+value) {
			return nil, relay.Refuse(relay.CodeInvalid, "letter %s: %q is no header of an envelope", x.ID, name)
		}
		i.header.Set(name, value)
	}
	return i, i.check(x)
}

// plainHeader: a header of the envelope holds printable ASCII alone.
func plainHeader(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// check reads the envelope and adds the death.
func (i *letterImport) check(x relay.ExportedLetter) error {
	var err error
	if i.message, err = relay.DecodeEnvelope(i.header, i.body); err != nil {
		return relay.Refuse(relay.CodeInvalid, "letter %s: %s", x.ID, err.Error())
	}
	m := i.message
	switch {
	case m.ID != x.ID || m.Queue != x.Queue:
		return relay.Refuse(relay.CodeInvalid, "letter %s of %s: its envelope is that of %s of %s", x.ID, x.Queue, m.ID, m.Queue)
	case relay.DigestOf(i.body) != m.Digest:
		return relay.Refuse(relay.CodeInvalid, "letter %s: its body is not the one that was accepted (SHA-256)", x.ID)
	case len(x.Detail) > relay.MaxDetail:
		return relay.Refuse(relay.CodeInvalid, "letter %s: its detail has %d bytes, more than %d", x.ID, len(x.Detail), relay.MaxDetail)
	case !routePattern.MatchString(m.Route):
		return relay.Refuse(relay.CodeInvalid, "letter %s: %q is no name of a route", x.ID, m.Route)
	}
	d := death{reason: x.Reason, at: x.DiedAt, attempts: x.Attempts, status: x.Status, detail: x.Detail, history: x.History}
	if err := d.write(i.header); err != nil {
		return relay.Refuse(relay.CodeInvalid, "letter %s: %s", x.ID, err.Error())
	}
	if headerSize(i.header) > maxHeader {
		return relay.Refuse(relay.CodeTooLarge, "letter %s: its envelope has more than %d bytes", x.ID, maxHeader)
	}
	return nil
}

// acceptWhole stores a large body in pieces before its letter.
func (i *letterImport) acceptWhole(ctx context.Context) (sequence uint64, err error) {
	if !large(i.message) {
		return i.accept(ctx)
	}
	whole := *i.message
	whole.Key = "" // that a message has it already is for accept to judge
	_, err = i.b.acceptLarge(ctx, &whole, func(ctx context.Context, kept *relay.Message) (relay.Receipt, error) {
		kept.Key = i.message.Key
		envelope, err := relay.EncodeEnvelope(kept)
		if err != nil {
			return relay.Receipt{}, err
		}
		for name, values := range envelope {
			i.header[name] = values
		}
		i.message, i.body = kept, nil
		sequence, err = i.accept(ctx)
		return relay.Receipt{}, err
	})
	return sequence, err
}

// accept stores the letter in the journal and returns its sequence there.
func (i *letterImport) accept(ctx context.Context) (uint64, error) {
	last := uint64(0)
	first, err := i.b.find(ctx, i.message.ID)
	switch {
	case errors.Is(err, errNotFound):
	case err != nil:
		return 0, unavailable(err)
	default:
		last = first.Sequence
		state, err := i.b.stateOf(ctx, i.message.Queue, last)
		if err != nil {
			return 0, unavailable(err)
		}
		if first.Buried != "" && (!state.Settled() || state == relay.Dead) {
			return last, nil // an import that was cut short, or that a drain has just settled
		}
		if err := importable(i.message, first, state); err != nil {
			return 0, err
		}
	}
	sequence, err := i.store(ctx, last)
	var refused *pubError
	if errors.As(err, &refused) && refused.full() && i.b.house.makeRoom(ctx, i.message.Queue) {
		sequence, err = i.store(ctx, last)
	}
	if err != nil {
		return 0, refusal(told(ctx, err), i.message)
	}
	if err := i.b.sync(ctx); err != nil {
		return 0, unknown(err)
	}
	return sequence, nil
}

func (i *letterImport) store(ctx context.Context, last uint64) (uint64, error) {
	apart := *i.message
	apart.Lane = "" // in a lane of its own it is before nobody, and no newer fact of its host
	subject, err := messageSubject(&apart)
	if err != nil {
		return 0, err
	}
	queue, own, _ := relay.ParseID(i.message.ID)
	msg := &nats.Msg{Subject: subject, Header: envelopeOf(i.header)}
	msg.Header.Set(hdrExpectedSequence, strconv.FormatUint(last, 10)) // two imports at one time store one
	msg.Header.Set(hdrExpectedSubject, idFilter(queue, own))
	return publish(ctx, i.b.nc, msg, i.body)
}

// importable refuses a letter whose message this relay knows and has not given
// up: it would be delivered twice.
func importable(m, first *relay.Message, state relay.State) error {
	switch {
	case first.Digest != m.Digest:
		return relay.Refuse(relay.CodeConflict, "there is another message %s here, with another body", m.ID)
	case state == relay.Discarded, state == relay.Cancelled:
		return nil
	case state == relay.Superseded:
		return relay.Refuse(relay.CodeConflict, "the message %s was replaced here: its letter was replayed, or a newer one took its place", m.ID)
	case state == relay.Dead:
		return relay.Refuse(relay.CodeConflict, "the message %s is dead here, but its letter is missing; see `foreman-relay audit`", m.ID)
	case state.Settled():
		return relay.Refuse(relay.CodeConflict, "the message %s is settled here (%s): its letter would deliver it twice", m.ID, state)
	default:
		return relay.Refuse(relay.CodeConflict, "the message %s is waiting to be delivered here; there can be no letter of it", m.ID)
	}
}

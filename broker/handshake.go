package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/theforeman/foreman-relay/relay"
)

// maxHandshakeRecord bounds the record as it is stored, in bytes: a document of
// MaxHandshake may grow where JSON writes it anew, and names stand beside it.
const maxHandshakeRecord = 3 * relay.MaxHandshake

// Handshake is the record of Foreman's document (relay.Handshakes).
func (b *Broker) Handshake(ctx context.Context) (r relay.HandshakeRecord, revision uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	entry, err := b.kv.Get(ctx, handshakeKey)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return r, 0, nil
	case err != nil:
		return r, 0, unavailable(fmt.Errorf("read the handshake: %w", err))
	}
	if err := json.Unmarshal(entry.Value(), &r); err != nil {
		return r, 0, fmt.Errorf("what is stored as the handshake cannot be read: %w", err)
	}
	return r, entry.Revision(), nil
}

// PutHandshake stores the record and returns when it is on the disk
// (relay.Handshakes). After CodeUnavailable it may or may not be stored.
func (b *Broker) PutHandshake(ctx context.Context, r relay.HandshakeRecord, revision uint64) (uint64, error) {
	value, err := json.Marshal(r)
	if err != nil {
		return 0, fmt.Errorf("write the handshake down: %w", err)
	}
	if len(value) > maxHandshakeRecord {
		return 0, relay.Refuse(relay.CodeTooLarge, "the handshake takes %d bytes in the store, more than %d", len(value), maxHandshakeRecord)
	}
	if err := b.health.admit(); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	ctx, loose := b.health.bound(ctx)
	defer loose()
	next, err := b.writeHandshake(ctx, value, revision)
	if err == nil {
		err = b.sync(ctx)
	}
	if err != nil {
		return 0, unavailable(told(ctx, err))
	}
	return next, nil
}

func (b *Broker) writeHandshake(ctx context.Context, value []byte, revision uint64) (next uint64, err error) {
	if revision == 0 {
		next, err = b.kv.Create(ctx, handshakeKey, value)
	} else {
		next, err = b.kv.Update(ctx, handshakeKey, value, revision)
	}
	var refused *jetstream.APIError
	if errors.Is(err, jetstream.ErrKeyExists) || errors.As(err, &refused) && int(refused.ErrorCode) == codeWrongLastSequence {
		return 0, relay.Refuse(relay.CodeConflict, "the handshake was stored meanwhile by another: read it again")
	}
	return next, err
}

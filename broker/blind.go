package broker

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/theforeman/foreman-relay/relay"
)

// blinding is the secret of all edges of one broker with which texts are blinded:
// an idempotency key has to find the body that it came with, and a digest of a
// short body in clear would tell what it is. It is made when it is first needed.
type blinding struct {
	mu     sync.Mutex
	secret []byte // nil: not read yet
}

const blindingBytes = 32

// Blind stands for a text (relay.Sealer).
func (b *Broker) Blind(ctx context.Context, text string) (string, error) {
	secret, err := b.blindingSecret(ctx)
	if err != nil {
		return "", &relay.Error{Code: relay.CodeUnavailable, RetryAfter: noBlindingRetry, Err: err, Detail: "the body cannot be sealed at this moment; nothing was stored"}
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil)), nil
}

const noBlindingRetry = fullRetryAfter

func (b *Broker) blindingSecret(ctx context.Context) ([]byte, error) {
	b.blinding.mu.Lock()
	defer b.blinding.mu.Unlock()
	if b.blinding.secret != nil {
		return b.blinding.secret, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	entry, err := b.kv.Get(ctx, blindingKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		if err = b.makeBlinding(ctx); err == nil || errors.Is(err, jetstream.ErrKeyExists) { // another edge was faster
			entry, err = b.kv.Get(ctx, blindingKey)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the secret of sealed bodies: %w", err)
	}
	if len(entry.Value()) != blindingBytes {
		return nil, fmt.Errorf("the secret of sealed bodies has %d bytes, not %d", len(entry.Value()), blindingBytes)
	}
	b.blinding.secret = entry.Value()
	return b.blinding.secret, nil
}

func (b *Broker) makeBlinding(ctx context.Context) error {
	secret := make([]byte, blindingBytes)
	_, _ = rand.Read(secret) // never fails
	if _, err := b.kv.Create(ctx, blindingKey, secret); err != nil {
		return err
	}
	return b.sync(ctx)
}

// sameBody says whether two messages came with the same body. One of them may be
// sealed and the other not: the organization was switched in between.
func (b *Broker) sameBody(ctx context.Context, x, y *relay.Message) (bool, error) {
	if (x.Print == "") == (y.Print == "") {
		if x.Print != "" {
			return x.Print == y.Print, nil
		}
		return x.Digest == y.Digest, nil
	}
	if x.Print == "" {
		x, y = y, x
	}
	print, err := b.Blind(ctx, y.Digest)
	return x.Print == print, err
}

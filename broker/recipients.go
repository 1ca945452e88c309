package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/theforeman/foreman-relay/relay"
)

// recipients are the public keys that the drains of each destination have told
// with their leases. They are stored: what comes while a drain is away, or after a
// start, is sealed to them. A drain that stands by has keys of its own, and what is
// sealed must open for it too, so the newest of each drain count.
type recipients struct {
	b *Broker

	mu sync.Mutex
	of map[string][]recipientsOf // by destination; the order in which they came
}

// recipientsOf is what one drain has told.
type recipientsOf struct {
	Instance   string    `json:"instance"`
	Recipients []string  `json:"recipients"`
	Told       time.Time `json:"told"`
}

func openRecipients(ctx context.Context, b *Broker) (*recipients, error) {
	r := &recipients{b: b, of: map[string][]recipientsOf{}}
	for _, destination := range destinations(b.options.Queues) {
		entry, err := b.kv.Get(ctx, recipientsKey(destination))
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("keys of destination %s: %w", destination, err)
		}
		var stored []recipientsOf
		if err := json.Unmarshal(entry.Value(), &stored); err != nil {
			return nil, fmt.Errorf("keys of destination %s: %w", destination, err)
		}
		r.of[destination] = stored
	}
	return r, nil
}

// hear takes what a drain says of its keys. They count once they are stored; else
// the drain says them again with its next renewal.
func (r *recipients) hear(destination string, request relay.LeaseRequest) error {
	if len(request.Recipients) == 0 || r.has(destination, request) {
		return nil
	}
	if err := relay.CheckRecipients(request.Recipients); err != nil {
		return err
	}
	r.mu.Lock()
	all := slices.Clone(r.of[destination])
	r.mu.Unlock()
	all = slices.DeleteFunc(all, func(of recipientsOf) bool { return of.Instance == request.Instance })
	all = append(all, recipientsOf{Instance: request.Instance, Recipients: request.Recipients, Told: time.Now().UTC()})
	all = all[max(0, len(all)-relay.MaxRecipients):] // those that said it the longest ago go
	if err := r.store(destination, all); err != nil {
		return fmt.Errorf("store the keys of a drain: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of[destination] = all
	r.b.log.Info().Str("destination", destination).Str("drain", request.Instance).Strs("recipients", request.Recipients).Msg("a drain has told its key")
	return nil
}

func (r *recipients) has(destination string, request relay.LeaseRequest) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.of[destination], func(of recipientsOf) bool {
		return of.Instance == request.Instance && slices.Equal(of.Recipients, request.Recipients)
	})
}

func (r *recipients) store(destination string, all []recipientsOf) error {
	value, err := json.Marshal(all)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	ctx, loose := r.b.health.bound(ctx)
	defer loose()
	if _, err := r.b.kv.Put(ctx, recipientsKey(destination), value); err != nil {
		return err
	}
	return r.b.sync(ctx)
}

// Recipients are the public keys to which messages for a destination are sealed,
// MaxRecipients at most; none: no drain has told one yet. One of each drain comes
// before a further one of any: no drain tells so many that another cannot read what
// is to be its own.
func (b *Broker) Recipients(destination string) []string {
	r := b.recipients
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for n := range relay.MaxRecipients {
		for _, of := range slices.Backward(r.of[destination]) {
			if n < len(of.Recipients) && !slices.Contains(all, of.Recipients[n]) && len(all) < relay.MaxRecipients {
				all = append(all, of.Recipients[n])
			}
		}
	}
	return all
}

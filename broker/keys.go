package broker

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/theforeman/foreman-relay/relay"
)

// settledKeys remembers which keys were settled, beyond the journal: after the
// journal has trimmed a message, the broker itself no longer refuses its key.
// What is kept of an id is 64 bits; ids are hashes already. At 10 million
// remembered ids the chance that a new one looks settled is one in 10^12.
//
// The memory is written out in chunks with the checkpoints, and read at start.
type settledKeys struct {
	window time.Duration

	mu     sync.Mutex
	days   []keyDay // ascending
	unsent map[string][]byte
}

// keyDay is what was settled on one day; whole days are forgotten.
type keyDay struct {
	day  int64
	keys map[uint64]struct{}
}

// maxKeyChunk bounds one stored chunk, in bytes.
const maxKeyChunk = 512 << 10

func newSettledKeys(window time.Duration) *settledKeys {
	return &settledKeys{window: window, unsent: map[string][]byte{}}
}

// fingerprint is 64 bits of an id.
func fingerprint(id string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id)) // a hash never fails
	return h.Sum64()
}

// add remembers a settled id.
func (k *settledKeys) add(q relay.Queue, id string) {
	f := fingerprint(id)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.remember(time.Now(), f)
	k.unsent[q.Token()] = binary.LittleEndian.AppendUint64(k.unsent[q.Token()], f)
}

func (k *settledKeys) remember(at time.Time, f uint64) {
	day := at.Unix() / 86400
	for i := range k.days {
		if k.days[i].day == day {
			k.days[i].keys[f] = struct{}{}
			return
		}
	}
	k.days = append(k.days, keyDay{day, map[uint64]struct{}{f: {}}})
}

// has says whether an id was settled within the window.
func (k *settledKeys) has(id string) bool {
	f := fingerprint(id)
	k.mu.Lock()
	defer k.mu.Unlock()
	oldest := time.Now().Add(-k.window).Unix() / 86400
	for i := len(k.days) - 1; i >= 0; i-- {
		if k.days[i].day < oldest {
			continue
		}
		if _, ok := k.days[i].keys[f]; ok {
			return true
		}
	}
	return false
}

// forget drops the days beyond the window.
func (k *settledKeys) forget(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	oldest := now.Add(-k.window).Unix() / 86400
	kept := k.days[:0]
	for _, d := range k.days {
		if d.day >= oldest {
			kept = append(kept, d)
		}
	}
	k.days = kept
}

// flush writes out what was added for a queue since the last flush.
func (k *settledKeys) flush(ctx context.Context, nc *nats.Conn, q relay.Queue) error {
	k.mu.Lock()
	all := k.unsent[q.Token()]
	delete(k.unsent, q.Token())
	k.mu.Unlock()
	for len(all) > 0 {
		n := min(len(all), maxKeyChunk)
		if _, err := publish(ctx, nc, nats.NewMsg(keysSubject(q)), all[:n]); err != nil {
			k.mu.Lock()
			k.unsent[q.Token()] = append(all, k.unsent[q.Token()]...)
			k.mu.Unlock()
			return fmt.Errorf("write settled keys of %s: %w", q, err)
		}
		all = all[n:]
	}
	return nil
}

// load reads what was written for a destination.
func (k *settledKeys) load(ctx context.Context, nc *nats.Conn, destination string) error {
	return scan(ctx, nc, apiGet(keyStream(destination)), "", 1, func(s *stored) error {
		k.mu.Lock()
		defer k.mu.Unlock()
		for b := s.data; len(b) >= 8; b = b[8:] {
			k.remember(s.at, binary.LittleEndian.Uint64(b))
		}
		return nil
	})
}

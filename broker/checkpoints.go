package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

// checkpoint stores the ledger of one queue.
func (h *housekeeper) checkpoint(ctx context.Context, q relay.Queue) error {
	c, err := h.due(ctx, q)
	if err != nil || c.value == nil {
		return err
	}
	return h.keep(ctx, map[relay.Queue]checkpoint{q: c})
}

// keptAtOnce is how many bytes of checkpoints are kept together.
const keptAtOnce = 16 << 20

// checkpoints stores the ledgers of all queues. Many are kept together: with one
// barrier each, a thousand organizations would have everything else wait.
func (h *housekeeper) checkpoints(ctx context.Context) {
	some, bytes := map[relay.Queue]checkpoint{}, 0
	h.eachQueue(ctx, func(ctx context.Context, q relay.Queue) error {
		c, err := h.due(ctx, q)
		if err != nil || c.value == nil {
			return err
		}
		some[q], bytes = c, bytes+len(c.value)
		if bytes < keptAtOnce {
			return nil
		}
		defer func() { some, bytes = map[relay.Queue]checkpoint{}, 0 }()
		return h.keep(ctx, some)
	})
	if len(some) == 0 {
		return
	}
	ctx, cancel := h.b.health.bound(ctx)
	defer cancel()
	if err := h.keep(ctx, some); err != nil && ctx.Err() == nil {
		h.b.log.Error().Err(err).Int("queues", len(some)).Msg("checkpoints could not be stored; they are tried again")
	}
}

// due is the ledger of a queue as it is to be stored; without a value when it is
// not to be.
func (h *housekeeper) due(ctx context.Context, q relay.Queue) (c checkpoint, err error) {
	if time.Now().Before(h.next[q.Token()]) {
		return c, nil
	}
	c, err = h.b.accounts[q.Destination].snapshot(q)
	if err != nil || c.value == nil {
		return checkpoint{}, err
	}
	pause := checkpointInterval + time.Duration(len(c.value))*time.Second/checkpointRate
	h.next[q.Token()] = time.Now().Add(pause)
	if c.value, err = pack(c.value); err != nil {
		return checkpoint{}, fmt.Errorf("pack the checkpoint: %w", err)
	}
	if len(c.value) > maxCheckpoint {
		h.b.log.Warn().Str("queue", q.String()).Int("bytes", len(c.value)).Msg("the checkpoint is too large and left out; the next start reads more events")
		return checkpoint{}, nil
	}
	return c, h.b.keys.flush(ctx, h.b.nc, q)
}

// keep stores checkpoints. What they rest on (events, letters, keys) is on the disk
// before, and they are on the disk themselves before anything is trimmed.
func (h *housekeeper) keep(ctx context.Context, some map[relay.Queue]checkpoint) error {
	if err := h.b.sync(ctx); err != nil {
		return err
	}
	for q, c := range some {
		if _, err := h.b.kv.Put(ctx, checkpointKey(q), c.value); err != nil {
			return fmt.Errorf("store the checkpoint of %s: %w", q, err)
		}
	}
	if err := h.b.sync(ctx); err != nil {
		return err
	}
	for q, c := range some {
		h.b.accounts[q.Destination].stored(q, c)
	}
	return nil
}

package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/theforeman/foreman-relay/relay"
)

// Pause stops the delivery of a queue. It is stored here and told to the drains
// with their leases, so that it outlives all of them.
func (b *Broker) Pause(ctx context.Context, q relay.Queue, by, reason string) error {
	p, err := relay.NewPause(time.Now(), by, reason)
	if err != nil {
		return err
	}
	if err := b.setPause(ctx, q, &p); err != nil {
		return err
	}
	b.leases.awaitPaused(ctx, q)
	return nil
}

// pauseHeeded is how long Pause waits for the drain to heed it. One that does not
// answer ends with its lease.
const pauseHeeded = 2 * time.Second

// awaitPaused waits until the drain of a queue begins no attempt any more.
func (l *leases) awaitPaused(ctx context.Context, q relay.Queue) {
	ctx, cancel := context.WithTimeout(ctx, pauseHeeded)
	defer cancel()
	l.mu.Lock()
	s := l.slots[q.Token()]
	if s.pausing == nil || s.pausing.over() {
		s.pausing = newHeed()
	}
	h := s.pausing
	l.mu.Unlock()
	if err := l.awaitHeed(ctx, q, h); err != nil {
		l.b.log.Warn().Str("queue", q.String()).Msg("the drain has not confirmed yet that it is paused; it learns of it when it asks again")
	}
}

// Resume ends a pause.
func (b *Broker) Resume(ctx context.Context, q relay.Queue) error {
	return b.setPause(ctx, q, nil)
}

// pauseFor pauses a queue for a message that its destination will not have, if it
// waits still. Somebody else's pause stays: whoever ends that has the message
// tried again, and so has his own chance to be told. A pause that was ended after
// the event stays so too: a start may read the event again that led to it.
func (b *Broker) pauseFor(ctx context.Context, q relay.Queue, e relay.Event) error {
	waits := false
	b.accounts[q.Destination].view(q, func(l *relay.Ledger) {
		w, ok := l.Waiting(e.Sequence)
		waits = ok && w.Pause
	})
	if !waits || b.leases.paused(q) {
		return nil
	}
	ended, err := b.pauseEnded(ctx, q)
	if err != nil || ended.After(e.Recorded) {
		return err
	}
	p := relay.PauseFor(e)
	b.log.Warn().Str("queue", q.String()).Str("id", e.ID).Str("reason", p.Reason).Msg("the queue is paused for a message that its destination will not have")
	return b.setPause(ctx, q, &p)
}

// hdrKeyOperation says what was done with a key where that was not to set it.
const hdrKeyOperation = "KV-Operation"

// pauseEnded is when the last pause of a queue was ended, by the broker's clock as
// the times of events are; zero where none was.
func (b *Broker) pauseEnded(ctx context.Context, q relay.Queue) (time.Time, error) {
	s, err := get(ctx, b.nc, apiGet(kvStream)+".$KV."+kvBucket+"."+pauseKey(q), nil)
	switch {
	case errors.Is(err, errNotFound):
		return time.Time{}, nil
	case err != nil:
		return time.Time{}, fmt.Errorf("pause of %s: %w", q, err)
	case s.header.Get(hdrKeyOperation) == "":
		return time.Time{}, nil // it lasts
	}
	return s.at, nil
}

func (l *leases) paused(q relay.Queue) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.slots[q.Token()].pause != nil
}

func (b *Broker) setPause(ctx context.Context, q relay.Queue, p *relay.Pause) error {
	if !b.Known(q) {
		return relay.Refuse(relay.CodeNotFound, "there is no queue %s", q)
	}
	if err := b.health.admit(); err != nil {
		return err
	}
	bounded, cancel := b.health.bound(ctx)
	defer cancel()
	if err := b.leases.setPause(bounded, q, p); err != nil {
		return unavailable(told(bounded, err))
	}
	if err := b.sync(ctx); err != nil {
		return unavailable(err)
	}
	return nil
}

// setPause stores a pause, or its end, and has the drains ask for it at once.
func (l *leases) setPause(ctx context.Context, q relay.Queue, p *relay.Pause) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.storePause(ctx, q, p); err != nil {
		return err
	}
	l.slots[q.Token()].pause = p
	l.nudge(q.Destination)
	return nil
}

func (l *leases) storePause(ctx context.Context, q relay.Queue, p *relay.Pause) error {
	var err error
	if p == nil {
		err = l.b.kv.Delete(ctx, pauseKey(q))
	} else {
		var value []byte
		if value, err = json.Marshal(p); err == nil {
			_, err = l.b.kv.Put(ctx, pauseKey(q), value)
		}
	}
	if err != nil {
		return fmt.Errorf("store the pause of %s: %w", q, err)
	}
	return nil
}

func (l *leases) readPause(ctx context.Context, q relay.Queue) (*relay.Pause, error) {
	entry, err := l.b.kv.Get(ctx, pauseKey(q))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil //nolint:nilnil // not paused
	}
	if err != nil {
		return nil, fmt.Errorf("pause of %s: %w", q, err)
	}
	var p relay.Pause
	if err := json.Unmarshal(entry.Value(), &p); err != nil {
		return nil, fmt.Errorf("pause of %s: %w", q, err)
	}
	return &p, nil
}

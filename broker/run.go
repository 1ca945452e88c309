package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"syscall"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/theforeman/foreman-relay/relay"
)

// storedRun is the edge's run number as it is kept, and whether that run has
// ended in order.
type storedRun struct {
	Number uint64 `json:"number"`
	Ended  bool   `json:"ended,omitempty"`
}

// beginRun counts this run of the edge and writes into the record of every queue
// where it begins: at the start of the process, and of the store within it.
// Before it nothing is accepted and no drain is answered, so each sequence that
// is given later is known to be of this run. Everything that was found is on the
// disk then, and will be there for the next run too.
func (b *Broker) beginRun(ctx context.Context) error {
	last, err := b.lastRun(ctx)
	if err != nil {
		return err
	}
	ended := relay.ReasonStopped
	if !last.Ended && last.Number != b.begun {
		ended = relay.ReasonCutOff
	}
	if err := b.storeRun(ctx, storedRun{Number: last.Number + 1}); err != nil {
		return err
	}
	if err := b.sync(ctx); err != nil {
		return err
	}
	if err := b.markRun(ctx, last.Number+1, ended); err != nil {
		return err
	}
	b.begun = last.Number + 1
	b.run.Store(b.begun)
	return b.sync(ctx)
}

// openRun begins the first run of this process. A disk that is really full
// cannot be told anything; nothing can be accepted on it either, so the run
// begins when the store is started anew, and until then drains are told of the
// one before.
func (b *Broker) openRun(ctx context.Context) error {
	last, err := b.lastRun(ctx)
	if err != nil {
		return err
	}
	b.run.Store(last.Number)
	err = trial(b.options.StateDir)
	if err == nil {
		err = b.beginRun(ctx)
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || err != nil && diagnose(b.server.healthy()) == ailsFull {
		b.health.fall(ailsFull, err)
		return nil
	}
	return err
}

// lastRun is the run that was begun last; zero before the first.
func (b *Broker) lastRun(ctx context.Context) (last storedRun, err error) {
	entry, err := b.kv.Get(ctx, runKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return storedRun{Ended: true}, nil
	}
	if err == nil {
		err = json.Unmarshal(entry.Value(), &last)
	}
	if err != nil {
		return last, fmt.Errorf("the number of the last run: %w", err)
	}
	return last, nil
}

func (b *Broker) storeRun(ctx context.Context, r storedRun) error {
	value, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if _, err := b.kv.Put(ctx, runKey, value); err != nil {
		return fmt.Errorf("store the number of this run: %w", err)
	}
	return nil
}

// markRun writes the beginning of a run into each queue's record.
func (b *Broker) markRun(ctx context.Context, number uint64, ended string) error {
	for _, q := range b.queues() {
		if err := b.markQueue(ctx, q, number, ended); err != nil {
			return err
		}
	}
	return nil
}

// markQueue writes it into the record of one, and waits for the accounts where
// they follow it already.
func (b *Broker) markQueue(ctx context.Context, q relay.Queue, number uint64, ended string) error {
	s, err := b.js.Stream(ctx, journalStream(q))
	if err != nil {
		return fmt.Errorf("look at the journal of %s: %w", q, err)
	}
	reach, err := b.storedReach(ctx, q)
	if err != nil {
		return err
	}
	at, err := recordAt(ctx, b.nc, q, relay.Event{State: relay.Started, Sequence: s.CachedInfo().State.LastSeq, Run: number, Reach: reach, Reason: ended})
	if err != nil {
		return fmt.Errorf("begin a run in the record of %s: %w", q, err)
	}
	if a := b.accounts[q.Destination]; a != nil {
		if err := a.await(ctx, at); err != nil {
			return fmt.Errorf("follow the events of %s: %w", q.Destination, err)
		}
	}
	return nil
}

// endRun leaves word that this run ends in order: what drains have recorded is
// on the disk when the barrier is closed. Without it the next start takes the
// run as cut off.
func (b *Broker) endRun() {
	if b.health.admit() != nil || b.barrier.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	ctx, loose := b.health.bound(ctx)
	defer loose()
	if err := b.storeRun(ctx, storedRun{Number: b.run.Load(), Ended: true}); err != nil {
		b.log.Warn().Err(err).Msg("the end of this run could not be noted; audit will name what may be delivered again")
		return
	}
	b.barrier.MarkDirty()
}

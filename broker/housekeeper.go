package broker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/theforeman/foreman-relay/relay"
)

// housekeeper does what follows from settlements, in one goroutine and one
// order: bury dead letters, barrier, checkpoint, barrier, and only then trim the
// head of the journal up to the floor that the checkpoint holds. It runs where
// the state directory is locked, so there is one.
type housekeeper struct {
	b     *Broker
	wakeC chan struct{}
	asked chan houseRequest
	next  map[string]time.Time // by queue token: the next checkpoint, not before
	full  map[string]bool      // by queue token: there was no room for a letter
}

// houseRequest asks for something to be done now, in turn.
type houseRequest struct {
	do   func(ctx context.Context) error
	done chan error
}

const (
	houseTick          = time.Second
	checkpointInterval = 2 * time.Second
	trimInterval       = time.Minute
	eventTrimInterval  = time.Hour
	maxCheckpoint      = 4 << 20 // bytes; a larger one is left out, and the next start reads more events
	checkpointRate     = 1 << 20 // bytes a second that checkpoints of one queue may write
)

func newHousekeeper(b *Broker) *housekeeper {
	return &housekeeper{b: b, wakeC: make(chan struct{}, 1), asked: make(chan houseRequest), next: map[string]time.Time{}, full: map[string]bool{}}
}

func (h *housekeeper) wake() { signal(h.wakeC) }

func (h *housekeeper) run(ctx context.Context) {
	tick := time.NewTicker(houseTick)
	defer tick.Stop()
	trim, eventTrim := time.Now(), time.Now().Add(min(time.Minute, h.b.options.RecordWindow))
	for {
		select {
		case <-ctx.Done():
			h.last()
			return
		case <-h.wakeC:
			h.eachQueue(ctx, h.dig)
		case r := <-h.asked:
			r.done <- h.serve(ctx, r)
		case now := <-tick.C:
			h.eachQueue(ctx, h.dig)
			h.checkpoints(ctx)
			h.eachQueue(ctx, h.measure)
			if now.After(trim) {
				trim = now.Add(min(trimInterval, h.b.options.JournalWindow))
				h.eachQueue(ctx, h.trim)
				h.eachQueue(ctx, h.sweep)
				h.b.keys.forget(now)
			}
			if now.After(eventTrim) {
				eventTrim = now.Add(min(eventTrimInterval, h.b.options.RecordWindow))
				h.trimEvents(ctx)
			}
		}
	}
}

// serve does what was asked for, and gives up when the store stops writing: it
// answers nothing then, and everybody would wait behind this one.
func (h *housekeeper) serve(ctx context.Context, r houseRequest) error {
	ctx, cancel := h.b.health.bound(ctx)
	defer cancel()
	return r.do(ctx)
}

// last leaves checkpoints for the next start.
func (h *housekeeper) last() {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	clear(h.next)
	h.eachQueue(ctx, h.dig)
	h.checkpoints(ctx)
}

func (h *housekeeper) eachQueue(ctx context.Context, do func(context.Context, relay.Queue) error) {
	if h.b.health.admit() != nil {
		return // nothing can be written; everything is done when it can
	}
	ctx, cancel := h.b.health.bound(ctx)
	defer cancel()
	for _, q := range h.b.queues() {
		if err := do(ctx, q); err != nil && ctx.Err() == nil {
			h.b.log.Error().Err(err).Str("queue", q.String()).Msg("housekeeping failed; it is tried again")
		}
	}
}

// trim removes what is settled and older than the journal window from the head
// of the journal, and nothing else.
func (h *housekeeper) trim(ctx context.Context, q relay.Queue) error {
	floor := h.b.accounts[q.Destination].safeFloor(q)
	if floor == 0 {
		return nil
	}
	since := time.Now().Add(-h.b.options.JournalWindow)
	keep, err := h.firstSince(ctx, journalStream(q), since)
	if err != nil {
		return err
	}
	return h.trimJournal(ctx, q, min(floor+1, keep))
}

// trimJournal removes the messages before a sequence, and from the account what
// only their listing needed.
func (h *housekeeper) trimJournal(ctx context.Context, q relay.Queue, keep uint64) error {
	if err := h.purge(ctx, journalStream(q), keep); err != nil {
		return err
	}
	h.b.accounts[q.Destination].view(q, func(l *relay.Ledger) { l.Forget(keep) })
	return nil
}

// firstSince is the sequence of the first message stored at or after t; the
// largest number when there is none.
func (h *housekeeper) firstSince(ctx context.Context, stream string, t time.Time) (uint64, error) {
	s, err := get(ctx, h.b.nc, apiGet(stream), &getRequest{StartTime: &t, NextFor: ">"})
	if errors.Is(err, errNotFound) {
		return ^uint64(0), nil
	}
	if err != nil {
		return 0, err
	}
	return s.sequence, nil
}

// purge removes everything before the sequence keep.
func (h *housekeeper) purge(ctx context.Context, stream string, keep uint64) error {
	s, err := h.b.js.Stream(ctx, stream)
	if err != nil {
		return err
	}
	if s.CachedInfo().State.FirstSeq >= keep {
		return nil
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSequence(keep)); err != nil {
		return fmt.Errorf("trim %s to %d: %w", stream, keep, err)
	}
	return h.b.sync(ctx)
}

// now has something done in the housekeeper's turn and waits for it.
func (h *housekeeper) now(ctx context.Context, do func(context.Context) error) error {
	r := houseRequest{do: do, done: make(chan error, 1)}
	select {
	case h.asked <- r:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return ctx.Err() // what was asked for is done all the same
	}
}

// makeRoom trims a full journal; false when there was nothing to trim.
func (h *housekeeper) makeRoom(ctx context.Context, q relay.Queue) bool {
	made := false
	err := h.now(ctx, func(ctx context.Context) error {
		made = h.trimForRoom(ctx, q)
		return nil
	})
	return err == nil && made
}

// trimForRoom gives the journal window up for room: quota counts what is
// pending before what is settled.
func (h *housekeeper) trimForRoom(ctx context.Context, q relay.Queue) bool {
	a := h.b.accounts[q.Destination]
	delete(h.next, q.Token())
	if err := h.dig(ctx, q); err != nil {
		return false
	}
	if err := h.checkpoint(ctx, q); err != nil {
		return false
	}
	floor := a.safeFloor(q)
	s, err := h.b.js.Stream(ctx, journalStream(q))
	if err != nil || s.CachedInfo().State.FirstSeq > floor {
		return false
	}
	return h.trimJournal(ctx, q, floor+1) == nil
}

// trimEvents removes the events that are older than the record window, after
// writing down per queue what they amounted to (the base of audit).
func (h *housekeeper) trimEvents(ctx context.Context) {
	for destination, a := range h.b.accounts {
		if h.b.health.admit() != nil {
			return // the store does not write; later
		}
		bounded, cancel := h.b.health.bound(ctx)
		err := h.trimEventsOf(bounded, a)
		cancel()
		if err != nil && ctx.Err() == nil {
			h.b.log.Error().Err(err).Str("destination", destination).Msg("trimming events failed; it is tried again")
		}
	}
}

func (h *housekeeper) trimEventsOf(ctx context.Context, a *accounts) error {
	keep, err := h.firstSince(ctx, eventStream(a.destination), time.Now().Add(-h.b.options.RecordWindow))
	if err != nil {
		return err
	}
	keep = min(keep, a.position()+1)
	for _, q := range h.b.queues() {
		if q.Destination != a.destination {
			continue
		}
		clear(h.next)
		if err := h.checkpoint(ctx, q); err != nil {
			return err
		}
		if a.keptThrough(q)+1 < keep {
			return nil // the checkpoint does not hold them yet
		}
		if err := h.raiseBase(ctx, a, q, keep); err != nil {
			return err
		}
	}
	if err := h.b.sync(ctx); err != nil {
		return err
	}
	return h.purge(ctx, eventStream(a.destination), keep)
}

// errStop ends a scan early.
var errStop = errors.New("stop")

func (h *housekeeper) raiseBase(ctx context.Context, a *accounts, q relay.Queue, keep uint64) error {
	ledger, err := readLedger(ctx, h.b.nc, baseKey(q))
	if err != nil {
		return err
	}
	err = scan(ctx, h.b.nc, apiGet(eventStream(a.destination)), eventPrefix(q)+"*", ledger.Through()+1, func(s *stored) error {
		if s.sequence >= keep {
			return errStop
		}
		e, err := relay.DecodeEvent(s.data)
		if err == nil {
			ledger.Apply(e, s.sequence)
		}
		return nil
	})
	if err != nil && !errors.Is(err, errStop) {
		return err
	}
	ledger.Forget(math.MaxUint64) // a base is for adding up alone
	value, err := ledger.Checkpoint()
	if err == nil {
		value, err = pack(value)
	}
	if err != nil {
		return err
	}
	if len(value) > maxCheckpoint {
		return fmt.Errorf("the base of %s is too large; its events are kept", q)
	}
	_, err = h.b.kv.Put(ctx, baseKey(q), value)
	return err
}

package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/theforeman/foreman-relay/relay"
)

// accounts keeps the ledger of every queue of one destination by following its
// events. The events are the truth; this is the edge's copy of it, for
// operators, for the trimmer, and for the checkpoints that make a start short.
type accounts struct {
	destination string
	nc          *nats.Conn
	js          jetstream.JetStream
	log         zerolog.Logger
	keys        *settledKeys

	mu      sync.Mutex
	books   map[string]*book // by queue token
	through uint64           // last event applied
	applied chan struct{}    // closed and replaced when through grows
	notify  func()           // there is work for the housekeeper
	again   context.CancelFunc
}

// book is the ledger of one queue and what follows from it that is not done yet.
type book struct {
	queue  relay.Queue
	ledger *relay.Ledger
	graves []grave
	dirty  bool   // the checkpoint is older than the ledger
	safe   uint64 // floor of the stored checkpoint
	kept   uint64 // the last event of the destination that was applied when it was made
	agenda *agenda
}

// grave is work at the dead letters: bury a message, or remove a letter that
// was replayed or discarded. Or the pause of the queue, for a message that is to
// be none: that too must be done before a checkpoint forgets the event.
type grave struct {
	event  relay.Event
	remove bool
	waited bool   // there are events before this one
	place  uint64 // of the event in the record
}

func newAccounts(destination string, nc *nats.Conn, js jetstream.JetStream, keys *settledKeys, log zerolog.Logger) *accounts {
	return &accounts{destination: destination, nc: nc, js: js, keys: keys, log: log, books: map[string]*book{},
		applied: make(chan struct{}), notify: func() {}, again: func() {}}
}

// open reads the checkpoint of each queue and then its later events.
func (a *accounts) open(ctx context.Context, queues []relay.Queue) error {
	last, err := a.lastEvent(ctx)
	if err != nil {
		return err
	}
	for _, q := range queues {
		if q.Destination != a.destination {
			continue
		}
		if err := a.add(ctx, q); err != nil {
			return err
		}
	}
	a.through = last // what came later comes again; ledgers count it once
	return nil
}

// add opens the account of one queue. Nobody may write events of it meanwhile.
func (a *accounts) add(ctx context.Context, q relay.Queue) error {
	ledger, err := readLedger(ctx, a.nc, checkpointKey(q))
	if err != nil {
		return fmt.Errorf("checkpoint of %s: %w", q, err)
	}
	b := &book{queue: q, ledger: ledger, safe: ledger.Floor(), agenda: newAgenda()}
	err = scan(ctx, a.nc, apiGet(eventStream(a.destination)), eventPrefix(q)+"*", ledger.Through()+1, func(s *stored) error {
		a.enter(b, s.sequence, s.at, s.data)
		return nil
	})
	if err != nil {
		return fmt.Errorf("events of %s: %w", q, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.books[q.Token()] = b
	return nil
}

// lastEvent is the sequence of the newest event.
func (a *accounts) lastEvent(ctx context.Context) (uint64, error) {
	s, err := a.js.Stream(ctx, eventStream(a.destination))
	if err != nil {
		return 0, fmt.Errorf("look at the events of %s: %w", a.destination, err)
	}
	return s.CachedInfo().State.LastSeq, nil
}

// readLedger reads a ledger from the key-value bucket; a missing one is empty.
func readLedger(ctx context.Context, nc *nats.Conn, key string) (*relay.Ledger, error) {
	s, err := get(ctx, nc, apiGet(kvStream)+".$KV."+kvBucket+"."+key, nil)
	if errors.Is(err, errNotFound) {
		return relay.NewLedger(), nil
	}
	if err != nil {
		return nil, err
	}
	return readCheckpoint(s.data)
}

// readCheckpoint reads a ledger as it is stored.
func readCheckpoint(stored []byte) (*relay.Ledger, error) {
	value, err := unpack(stored)
	if err != nil {
		return nil, err
	}
	return relay.ReadCheckpoint(value)
}

// follow applies new events until ctx ends.
func (a *accounts) follow(ctx context.Context) {
	for ctx.Err() == nil {
		run, again := context.WithCancel(ctx)
		a.mu.Lock()
		a.again = again
		a.mu.Unlock()
		err := a.tail(run)
		anew := run.Err() != nil
		again()
		if !anew {
			a.log.Warn().Err(err).Str("destination", a.destination).Msg("following the events failed; following again")
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
}

// anew makes follow begin again where it is, on a server that was started anew.
func (a *accounts) anew() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.again()
}

func (a *accounts) tail(ctx context.Context) error {
	c, err := a.js.OrderedConsumer(ctx, eventStream(a.destination), jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: a.position() + 1})
	if err != nil {
		return err
	}
	messages, err := c.Messages(jetstream.PullMaxMessages(4096))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		a.apply(msg.Subject(), meta.Sequence.Stream, meta.Timestamp, msg.Data())
	}
}

// apply takes one event as it comes.
func (a *accounts) apply(subject string, sequence uint64, at time.Time, data []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if sequence <= a.through {
		return
	}
	a.through = sequence
	close(a.applied)
	a.applied = make(chan struct{})
	if b := a.books[queueOfEvent(subject)]; b != nil {
		a.enter(b, sequence, at, data)
	}
}

// enter books one event. One that cannot be read is logged and left out: it
// settles nothing, so its message is attempted again.
func (a *accounts) enter(b *book, sequence uint64, at time.Time, data []byte) {
	e, err := relay.DecodeEvent(data)
	if err != nil {
		a.log.Error().Err(err).Str("queue", b.queue.String()).Uint64("event", sequence).Msg("an event cannot be read")
		return
	}
	e.Recorded = at
	if b.ledger.Refuses(e) {
		a.log.Warn().Str("queue", b.queue.String()).Str("id", e.ID).Uint64("sequence", e.Sequence).Uint64("run", e.Run).Str("state", string(e.State)).
			Msg("an event about a message that a power cut took is not counted: its sequence is another message's")
	}
	wasLetter := e.State != relay.Started && b.ledger.DeadLetter(e.Sequence)
	_, waited := b.ledger.Waiting(e.Sequence)
	if !b.ledger.Apply(e, sequence) {
		return
	}
	b.dirty = true
	if e.State.Settled() {
		b.agenda.settled(e.Sequence)
	}
	if e.State == relay.Dead || wasLetter || e.Pause {
		b.graves = append(b.graves, grave{event: e, remove: wasLetter, waited: waited, place: sequence})
		a.notify()
	}
	if e.Keyed && e.State.Settled() {
		a.keys.add(b.queue, e.ID)
	}
}

func (a *accounts) position() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.through
}

// current waits until every event stored so far is applied.
func (a *accounts) current(ctx context.Context) error {
	last, err := a.lastEvent(ctx)
	if err != nil {
		return err
	}
	return a.await(ctx, last)
}

// await waits until the event with this sequence is applied.
func (a *accounts) await(ctx context.Context, sequence uint64) error {
	for {
		a.mu.Lock()
		through, applied := a.through, a.applied
		a.mu.Unlock()
		if through >= sequence {
			return nil
		}
		select {
		case <-applied:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// view calls f with the ledger of a queue, which it must not keep.
func (a *accounts) view(q relay.Queue, f func(*relay.Ledger)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f(a.books[q.Token()].ledger)
}

// copy is the ledger of a queue as it is now.
func (a *accounts) copy(q relay.Queue) (l *relay.Ledger, err error) {
	a.view(q, func(kept *relay.Ledger) { l, err = clone(kept) })
	return l, err
}

// refuses says whether an event is not counted (relay.Ledger).
func (a *accounts) refuses(q relay.Queue, e relay.Event) (refused bool) {
	a.view(q, func(l *relay.Ledger) { refused = l.Refuses(e) })
	return refused
}

// pendingGraves takes the work at the dead letters of a queue, in order.
func (a *accounts) pendingGraves(q relay.Queue) []grave {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]grave(nil), a.books[q.Token()].graves...)
}

// pausing says whether a queue is to be paused and is not yet.
func (a *accounts) pausing(q relay.Queue) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, g := range a.books[q.Token()].graves {
		if g.event.Pause {
			return true
		}
	}
	return false
}

// gravesDone forgets the first n pieces of work, but for what is left of them.
func (a *accounts) gravesDone(q relay.Queue, n int, left []grave) {
	a.mu.Lock()
	defer a.mu.Unlock()
	b := a.books[q.Token()]
	b.graves = append(left, b.graves[n:]...)
}

// snapshot encodes a ledger whose consequences are all done; nil when there is
// nothing new, or when work is left to do first.
func (a *accounts) snapshot(q relay.Queue) (c checkpoint, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	b := a.books[q.Token()]
	if !b.dirty || len(b.graves) > 0 {
		return c, nil
	}
	c.floor, c.through, c.applied = b.ledger.Floor(), b.ledger.Through(), a.through
	c.value, err = b.ledger.Checkpoint()
	return c, err
}

// checkpoint is a ledger as it is stored.
type checkpoint struct {
	value          []byte
	floor, through uint64
	applied        uint64 // the last event of any queue that was
}

// stored notes that a checkpoint is on the disk.
func (a *accounts) stored(q relay.Queue, c checkpoint) {
	a.mu.Lock()
	defer a.mu.Unlock()
	b := a.books[q.Token()]
	b.safe, b.kept = c.floor, c.applied
	b.dirty = b.ledger.Through() != c.through
}

// safeFloor is the floor of the newest checkpoint on the disk: trimming up to it
// can forget nothing.
func (a *accounts) safeFloor(q relay.Queue) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.books[q.Token()].safe
}

// keptThrough is the event up to which the stored checkpoint of a queue holds all
// of its events.
func (a *accounts) keptThrough(q relay.Queue) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	b := a.books[q.Token()]
	if b.dirty {
		return b.kept
	}
	return a.through
}

package broker

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/theforeman/foreman-relay/relay"
)

// ChangeStream does what somebody with other tools could do to a journal.
func ChangeStream(ctx context.Context, b *Broker, q relay.Queue) error {
	s, err := b.js.Stream(ctx, journalStream(q))
	if err != nil {
		return err
	}
	c := s.CachedInfo().Config
	c.MaxMsgs = 5
	_, err = b.js.UpdateStream(ctx, c)
	return err
}

// Conn is the connection of a channel, to try what it must not do.
func Conn(c *Channel) *nats.Conn { return c.nc }

// EdgeConn is the edge's own connection.
func EdgeConn(b *Broker) *nats.Conn { return b.nc }

// Names of the topology for tests.
var (
	JournalStream = journalStream
	EventStream   = eventStream
	EventSubject  = eventSubject
)

// WithFlush puts a function in the place of syncfs, and makes the broker use the
// barrier on every filesystem.
func WithFlush(o *Options, flush func() error) { o.Durability, o.flush = ModeOS, flush }

// Events is how many events are kept for a destination.
func Events(ctx context.Context, b *Broker, destination string) (uint64, error) {
	s, err := b.streamState(ctx, eventStream(destination))
	return s.Msgs, err
}

// Record stores an event as a drain does.
func Record(ctx context.Context, b *Broker, q relay.Queue, e relay.Event) error {
	_, err := recordAt(ctx, b.nc, q, e)
	return err
}

// WithPatience is how long a request may wait for the disk.
func WithPatience(o *Options, d time.Duration) { o.acceptTimeout = d }

// LoseLease forgets whether the lease of a queue was stored, as after a call that
// was not answered in time.
func LoseLease(b *Broker, q relay.Queue) {
	b.leases.mu.Lock()
	defer b.leases.mu.Unlock()
	s := b.leases.slots[q.Token()]
	s.lease, s.revision, s.unsure = relay.Lease{}, 0, true
}

// WriteTo publishes something into one of the broker's streams that is not a
// journal: events, dead letters, settled keys, or the key-value bucket.
func WriteTo(ctx context.Context, b *Broker, q relay.Queue, stream string) error {
	subject := map[string]string{"events": eventSubject(q, "none"), "dead letters": deadSubject(q, "none"),
		"keys": keysSubject(q), "key-value bucket": "$KV." + kvBucket + ".test"}[stream]
	ctx, cancel := b.health.bound(ctx)
	defer cancel()
	_, err := publish(ctx, b.nc, nats.NewMsg(subject), make([]byte, 64<<10))
	return err
}

// Dirty says whether the checkpoint of a queue lacks something.
func Dirty(b *Broker, q relay.Queue) bool { return b.accounts[q.Destination].isDirty(q) }

// ForgetPause brings a queue back to where a crash leaves it that comes after an
// event and before what follows from it.
func ForgetPause(ctx context.Context, b *Broker, q relay.Queue) error {
	s, err := b.js.Stream(ctx, kvStream)
	if err != nil {
		return err
	}
	subject := func(key string) jetstream.StreamPurgeOpt {
		return jetstream.WithPurgeSubject("$KV." + kvBucket + "." + key)
	}
	return errors.Join(s.Purge(ctx, subject(pauseKey(q))), s.Purge(ctx, subject(checkpointKey(q))))
}

// StockWaiting fills an empty queue with messages that have been tried once, by
// an earlier drain, and wait until next: many of them in little time.
func StockWaiting(ctx context.Context, b *Broker, messages []*relay.Message, next time.Time) error {
	for i, m := range messages {
		header, err := relay.EncodeEnvelope(m)
		if err != nil {
			return err
		}
		subject, err := messageSubject(m)
		if err != nil {
			return err
		}
		e := relay.Event{Sequence: uint64(i + 1), ID: m.ID, State: relay.Waiting, Attempt: 1, Reason: relay.ReasonNotReady, Next: next, Slow: 1}
		event, err := e.Encode()
		if err != nil {
			return err
		}
		for _, msg := range []*nats.Msg{{Subject: subject, Header: header, Data: m.Body}, {Subject: eventSubject(m.Queue, m.ID), Data: event}} {
			if _, err := b.js.PublishMsgAsync(msg); err != nil {
				return err
			}
		}
	}
	select {
	case <-b.js.PublishAsyncComplete():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

package broker

import (
	"context"

	"github.com/nats-io/nats.go"

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

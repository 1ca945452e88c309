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

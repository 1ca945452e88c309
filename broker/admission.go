package broker

import (
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

// DefaultWaiting is how many requests may wait for the disk at one time. At ten
// thousand requests a second it is what a barrier of 100 ms needs; with more in
// wait most would run into their timeout anyway, holding their bodies till then.
const DefaultWaiting = 1024

// enter lets a request in whose body has that size, or says why not: nothing was
// stored then. leave must follow.
func (b *Broker) enter(size int) error {
	if err := b.health.admit(); err != nil {
		return err
	}
	if err := b.disk.admit(size); err != nil {
		return err
	}
	if b.waiting.Add(1) > int64(b.options.MaxWaiting) {
		b.leave(size)
		return &relay.Error{Code: relay.CodeTooManyRequests, RetryAfter: time.Second,
			Detail: "too many requests wait for the disk already; nothing was stored"}
	}
	return nil
}

func (b *Broker) leave(size int) {
	b.waiting.Add(-1)
	b.disk.done(size)
}

// Storage is how disk and store are, for metrics and operators.
func (b *Broker) Storage() relay.Storage {
	s := relay.Storage{FreeBytes: b.disk.free.Load(), ReserveBytes: b.disk.kept.Load(), Low: b.disk.low.Load(),
		Writable: true, Waiting: int(b.waiting.Load()), WaitingMost: b.options.MaxWaiting, Restarts: b.health.cured.Load(),
		Durability: b.choice.String()}
	if err := b.health.ready(); err != nil {
		s.Writable, s.Reason = false, err.Error()
	}
	return s
}

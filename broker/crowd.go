package broker

import (
	"sync"

	"github.com/theforeman/foreman-relay/relay"
)

// crowd counts how many messages a queue has room for: the broker's own limit
// counts bytes alone.
type crowd struct {
	mu     sync.Mutex
	last   uint64 // sequence given last
	coming uint64 // messages that are being stored
}

// startAt is for a journal that was opened.
func (c *crowd) startAt(last uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = last
}

// stored notes the sequence of a message.
func (c *crowd) stored(sequence uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last, sequence)
}

// reached is the highest sequence that is known to be given.
func (c *crowd) reached() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// enter takes a place among so many, settled of which have none any more; leave
// gives it back once the message is stored, or is not.
func (c *crowd) enter(most, settled uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last-min(c.last, settled)+c.coming >= most {
		return false
	}
	c.coming++
	return true
}

func (c *crowd) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.coming--
}

// quota is how many bytes the journal of a queue and its large bodies may take.
func (b *Broker) quota(q relay.Queue) int64 {
	if o, known := b.KnownOrganization(q.Organization); known && o.Quota.Bytes > 0 {
		return o.Quota.Bytes
	}
	return b.options.QuotaBytes
}

// squeeze takes a place for a message in a queue of which the number of messages
// is bounded; nothing was stored when there is none.
func (b *Broker) squeeze(q relay.Queue) (leave func(), err error) {
	o, _ := b.KnownOrganization(q.Organization)
	if o.Quota.Messages <= 0 {
		return func() {}, nil
	}
	var settled uint64
	b.accounts[q.Destination].view(q, func(l *relay.Ledger) { settled = l.Totals().Sum() })
	c := b.crowds.of(q)
	if !c.enter(uint64(o.Quota.Messages), settled) {
		return nil, crowded(q, o.Quota.Messages)
	}
	return c.leave, nil
}

func crowded(q relay.Queue, most int64) error {
	e := relay.Refuse(relay.CodeQuotaFull, "queue %s has %d messages that wait, as many as it may: they have to be delivered first, or its quota raised", q, most)
	e.RetryAfter = fullRetryAfter
	return e
}

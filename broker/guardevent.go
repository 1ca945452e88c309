package broker

import (
	"context"
	"fmt"

	"github.com/theforeman/foreman-relay/relay"
)

// maxDrainEvent bounds an event of a drain, in bytes: MaxDetail of an answer, each of
// them escaped, and some numbers.
const maxDrainEvent = 16 << 10

// checkEvent says why an event of a far drain is none that a drain writes. What the
// record says stays when the drain is gone: a message beyond the end of a journal
// that is recorded as delivered would never be delivered when it comes, and the next
// start would fill the journal up to it (mend.go); the beginning of a run that there
// never was would have everybody else's events refused.
func (b *Broker) checkEvent(destination, subject string, data []byte) error {
	e, err := relay.DecodeEvent(data)
	if err != nil {
		return err
	}
	q, known := b.queues()[queueOfEvent(subject)]
	token, _, ok := relay.ParseID(e.ID)
	switch {
	case !known || q.Destination != destination || subject != eventSubject(q, e.ID):
		return fmt.Errorf("%q is not where this event belongs", relay.Excerpt([]byte(subject)))
	case e.ID != "" && (!ok || token != q.Token()): // it has none where the message is unreadable
		return fmt.Errorf("%q is no message of %s", relay.Excerpt([]byte(e.ID)), q)
	case e.State == relay.Started || e.Epoch == 0:
		return fmt.Errorf("only the edge itself says %q without a lease", e.State)
	case e.Run != 0 && e.Run < b.run.Load(): // of a message that may be gone: the account tells
		return nil
	}
	return b.holds(q, e.Sequence)
}

// holds says whether the journal of a queue has come to a sequence yet.
func (b *Broker) holds(q relay.Queue, sequence uint64) error {
	if c := b.crowds.of(q); c != nil && sequence <= c.reached() { // nil: it is about to be opened
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	ctx, loose := b.health.bound(ctx)
	defer loose()
	s, err := b.js.Stream(ctx, journalStream(q)) // a message may be there, and its sender not know it yet
	if err != nil {
		return fmt.Errorf("look at the journal of %s: %w", q, err)
	}
	last := s.CachedInfo().State.LastSeq
	if sequence > last {
		return fmt.Errorf("%s has no message %d, %d is the last", q, sequence, last)
	}
	return nil
}

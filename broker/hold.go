package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

// heed shows when the drain of a queue has heeded what it is told in answers
// about leases.
type heed struct {
	told  string        // session that was told
	since uint64        // number of the first answer that told it
	done  chan struct{} // closed when that session has done as such an answer says
}

func newHeed() *heed { return &heed{done: make(chan struct{})} }

// tell notes an answer to a session, and which one it has heeded by now: that it
// asks again does not show that the one before has reached it.
func (h *heed) tell(session string, answer, heeded uint64) {
	switch {
	case h == nil || h.over():
	case h.told != session:
		h.told, h.since = session, answer
	case heeded >= h.since:
		close(h.done)
	}
}

func (h *heed) over() bool {
	select {
	case <-h.done:
		return true
	default:
		return false
	}
}

// holdTimeout is how long a drain has to heed a hold. It is asked at once, and
// asks by itself four times as often.
const holdTimeout = relay.LeaseTTL

// nudgeAgain is the pause between two nudges of a drain that has to heed a hold.
const nudgeAgain = 100 * time.Millisecond

// withHold calls f while nobody begins an attempt for a queue, so that the edge
// may settle pending messages itself: whoever drains the queue ends its term, says
// what it has under way, which f is told, and begins again after the hold by what
// is settled then.
func (b *Broker) withHold(ctx context.Context, q relay.Queue, f func(underway []uint64) error) error {
	if err := b.health.admit(); err != nil {
		return err
	}
	ctx, cancel := b.health.bound(ctx)
	defer cancel()
	h, err := b.leases.beginHold(q)
	if err != nil {
		return err
	}
	defer b.leases.endHold(q)
	if err := b.leases.awaitHeed(ctx, q, h); err != nil {
		return err
	}
	drain, _ := b.leases.holder(q)
	return f(drain.status.Underway)
}

func (l *leases) beginHold(q relay.Queue) (*heed, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.slots[q.Token()]
	if s.hold != nil {
		return nil, &relay.Error{Code: relay.CodeConflict, RetryAfter: time.Second,
			Detail: "messages of " + q.String() + " are being cancelled or purged at this moment; try again"}
	}
	s.hold = newHeed()
	return s.hold, nil
}

func (l *leases) endHold(q relay.Queue) {
	l.mu.Lock()
	l.slots[q.Token()].hold = nil
	l.mu.Unlock()
	l.nudge(q.Destination)
}

// awaitHeed waits until no attempt can be begun: the holder of the lease has
// heeded what it is told, or there is none whose attempts could be under way.
func (l *leases) awaitHeed(ctx context.Context, q relay.Queue, h *heed) error {
	timeout := time.NewTimer(holdTimeout)
	defer timeout.Stop()
	again := time.NewTicker(nudgeAgain)
	defer again.Stop()
	for !l.idle(q) {
		l.nudge(q.Destination)
		select {
		case <-h.done:
			return nil
		case <-again.C:
		case <-ctx.Done():
			return unavailable(ctx.Err())
		case <-timeout.C:
			return &relay.Error{Code: relay.CodeUnavailable, RetryAfter: holdTimeout,
				Detail: fmt.Sprintf("the drain of %s does not answer, or the one before it may be delivering still; nothing was changed, try again", q)}
		}
	}
	return nil
}

// idle says whether nobody can have an attempt under way.
func (l *leases) idle(q relay.Queue) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	lease := l.slots[q.Token()].lease
	if lease.Epoch == 0 {
		return true
	}
	over := lease.Released || time.Since(lease.Renewed) > relay.LeaseTTL+lease.Longest
	return over && !time.Now().Before(lease.Begins) // till then those of the holder before may be under way
}

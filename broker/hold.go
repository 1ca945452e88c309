package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

// hold is the edge settling pending messages itself: whoever drains the queue
// ends its term, says what it has under way, and begins again after the hold, by
// what is settled then.
type hold struct {
	told   string        // session that was told in an answer
	heeded chan struct{} // closed when that session has asked again: it has ended its term
}

// tell notes an answer to a session; its next question shows that it has heeded
// the hold.
func (h *hold) tell(session string) {
	switch {
	case h == nil:
	case h.told != session:
		h.told = session
	default:
		select {
		case <-h.heeded:
		default:
			close(h.heeded)
		}
	}
}

// holdTimeout is how long a drain has to heed a hold. It is asked at once, and
// asks by itself four times as often.
const holdTimeout = relay.LeaseTTL

// nudgeAgain is the pause between two nudges of a drain that has to heed a hold.
const nudgeAgain = 100 * time.Millisecond

// withHold calls f while nobody begins an attempt for a queue; f is told which
// sequences are under way still.
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

func (l *leases) beginHold(q relay.Queue) (*hold, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.slots[q.Token()]
	if s.hold != nil {
		return nil, &relay.Error{Code: relay.CodeConflict, RetryAfter: time.Second,
			Detail: "messages of " + q.String() + " are being cancelled or purged at this moment; try again"}
	}
	s.hold = &hold{heeded: make(chan struct{})}
	return s.hold, nil
}

func (l *leases) endHold(q relay.Queue) {
	l.mu.Lock()
	l.slots[q.Token()].hold = nil
	l.mu.Unlock()
	l.nudge(q)
}

// nudge has the drains of a queue ask for their leases at once.
func (l *leases) nudge(q relay.Queue) {
	if err := l.b.nc.Publish(nudgeSubject(q.Destination), nil); err != nil {
		l.b.log.Debug().Err(err).Msg("the drains learn of it with their next renewal")
	}
}

// awaitHeed waits until no attempt can be begun: the holder of the lease has
// heeded the hold, or there is none whose attempts could be under way.
func (l *leases) awaitHeed(ctx context.Context, q relay.Queue, h *hold) error {
	timeout := time.NewTimer(holdTimeout)
	defer timeout.Stop()
	again := time.NewTicker(nudgeAgain)
	defer again.Stop()
	for !l.idle(q) {
		l.nudge(q)
		select {
		case <-h.heeded:
			return nil
		case <-again.C:
		case <-ctx.Done():
			return unavailable(ctx.Err())
		case <-timeout.C:
			return &relay.Error{Code: relay.CodeUnavailable, RetryAfter: holdTimeout,
				Detail: fmt.Sprintf("the drain of %s does not answer, and may be delivering still; nothing was changed, try again", q)}
		}
	}
	return nil
}

// idle says whether nobody can have an attempt under way.
func (l *leases) idle(q relay.Queue) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	lease := l.slots[q.Token()].lease
	return lease.Epoch == 0 || lease.Released || time.Since(lease.Renewed) > relay.LeaseTTL+lease.Longest
}

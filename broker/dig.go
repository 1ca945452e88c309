package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/theforeman/foreman-relay/relay"
)

// digAtOnce is how many letters are dug for together: their histories are read
// and held together.
const digAtOnce = 256

// errNoRoom: the dead letters of the organization have reached their quota.
var errNoRoom = errors.New("the dead letters have no more room: replay or discard some, or raise limits.dead_letter_quota")

// dig does the work at the dead letters. Where there is no room for another one,
// letters are removed all the same, and what could not be buried is left: its
// message stays in the journal until it can.
func (h *housekeeper) dig(ctx context.Context, q relay.Queue) error {
	a := h.b.accounts[q.Destination]
	work := a.pendingGraves(q)
	if len(work) == 0 {
		return nil
	}
	var left []grave
	for done := 0; done < len(work); {
		some := work[done:min(len(work), done+h.spades(q, done == 0))]
		unburied, err := h.digSome(ctx, q, some, len(left) > 0)
		left = append(left, unburied...)
		if err != nil && !errors.Is(err, errNoRoom) {
			a.gravesDone(q, len(work), append(left, work[done+len(some):]...))
			return err
		}
		done += len(some)
	}
	a.gravesDone(q, len(work), left)
	h.full[q.Token()] = len(left) > 0
	h.b.barrier.MarkDirty()
	if len(left) > 0 {
		return fmt.Errorf("%d messages cannot be buried: %w", len(left), errNoRoom)
	}
	return nil
}

// spades is for how many graves it is dug together. Where there was no room the
// last time, one shows whether there is now: to read what many of them need, each
// time that somebody looks, would take longer than all else.
func (h *housekeeper) spades(q relay.Queue, first bool) int {
	if first && h.full[q.Token()] {
		return 1
	}
	return digAtOnce
}

// digSome returns what is left to be done. After the first one without room, or
// after a failure, nothing more is buried.
func (h *housekeeper) digSome(ctx context.Context, q relay.Queue, work []grave, full bool) (left []grave, err error) {
	histories := map[uint64]*relay.History{}
	if !full {
		histories = h.b.histories(ctx, q, work)
	}
	for i, g := range work {
		if full && !g.remove && !g.event.Pause {
			left = append(left, g)
			continue
		}
		err := h.digOne(ctx, q, g, histories[g.event.Sequence])
		var refused *pubError
		switch {
		case errors.As(err, &refused) && refused.full():
			full, left = true, append(left, g)
		case err != nil:
			return append(left, work[i:]...), err
		}
	}
	if full {
		err = errNoRoom
	}
	return left, err
}

func (h *housekeeper) digOne(ctx context.Context, q relay.Queue, g grave, history *relay.History) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	switch {
	case g.remove:
		return h.b.unbury(ctx, q, g.event.ID)
	case g.event.Pause:
		return h.b.pauseFor(ctx, q, g.event)
	}
	still := false
	h.b.accounts[q.Destination].view(q, func(l *relay.Ledger) { still = l.DeadLetter(g.event.Sequence) })
	if !still {
		return nil // replayed or discarded meanwhile
	}
	return h.b.bury(ctx, q, g.event, history)
}

// digNow does the work at a queue's dead letters. What has no room is told by
// the log: it keeps nobody from seeing and removing letters.
func (h *housekeeper) digNow(ctx context.Context, q relay.Queue) error {
	return h.now(ctx, func(ctx context.Context) error {
		if err := h.dig(ctx, q); !errors.Is(err, errNoRoom) {
			return err
		}
		return nil
	})
}

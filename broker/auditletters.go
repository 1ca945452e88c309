package broker

import (
	"context"
	"errors"

	"github.com/theforeman/foreman-relay/relay"
)

// checkLetters: every dead letter is kept whole and is that of its message, and
// there is no other. Those that had died before the base are trusted as it is.
func (a *auditor) checkLetters(ctx context.Context) error {
	if err := a.b.settleGraves(ctx, a.queue); err != nil { // all that have died by the account, which was taken before
		return err
	}
	want := map[uint64]bool{}
	for _, sequence := range a.ledger.DeadLetters() {
		if a.Trusted == nil || !a.base.DeadLetter(sequence) {
			want[sequence] = true
		}
	}
	from, err := a.firstLetter(ctx)
	if err != nil {
		return err
	}
	err = scan(ctx, a.b.nc, apiGet(deadStream(a.queue.Organization)), deadSubject(a.queue, "*"), from, func(s *stored) error {
		l, m, err := s.letter()
		if err != nil {
			a.find(0, "", "dead letter at %d cannot be read: %v", s.sequence, err)
			return nil
		}
		delete(want, l.Sequence)
		return a.checkLetter(ctx, l, m)
	})
	for sequence := range want {
		if a.deadNow(sequence) { // else it was replayed or discarded meanwhile
			a.find(sequence, "", "it is dead, but its letter is missing")
		}
	}
	return err
}

// firstLetter is where the letters begin of those that have died since the base.
func (a *auditor) firstLetter(ctx context.Context) (uint64, error) {
	if a.Trusted == nil {
		return 1, nil
	}
	s, err := get(ctx, a.b.nc, apiGet(deadStream(a.queue.Organization)), &getRequest{StartTime: a.Trusted, NextFor: deadSubject(a.queue, "*")})
	if errors.Is(err, errNotFound) {
		return ^uint64(0), nil
	}
	if err != nil {
		return 0, err
	}
	return s.sequence, nil
}

func (a *auditor) checkLetter(ctx context.Context, l relay.DeadLetter, m *relay.Message) error {
	print, died := a.letters[l.Sequence]
	switch {
	case !a.ledger.DeadLetter(l.Sequence):
		if !a.deadNow(l.Sequence) {
			a.find(l.Sequence, l.ID, "a dead letter is kept of it, but it is not dead")
		}
	case died && print != printOf(l.ID):
		a.find(l.Sequence, l.ID, "the dead letter that is kept of it is that of another message")
	default:
		whole, err := a.b.letterIsWhole(ctx, m)
		if err == nil && !whole {
			a.find(l.Sequence, l.ID, "the body of the dead letter is not the one that was accepted")
		}
		return err
	}
	return nil
}

// deadNow asks the account, which is ahead of the letters: they change during an
// audit too.
func (a *auditor) deadNow(sequence uint64) (dead bool) {
	a.b.accounts[a.queue.Destination].view(a.queue, func(l *relay.Ledger) { dead = l.DeadLetter(sequence) })
	return dead
}

package broker

import (
	"context"
	"fmt"

	"github.com/theforeman/foreman-relay/relay"
)

// maxFindings bounds what one report names.
const maxFindings = 100

// Audit proves the ledger of a queue (of all queues: nil) from what is stored:
// it adds up the base and every event anew, and holds the result against the
// journal, the dead letters and the account that the edge keeps.
func (b *Broker) Audit(ctx context.Context, q *relay.Queue) ([]relay.AuditReport, error) {
	if q != nil && !b.Known(*q) {
		return nil, relay.Refuse(relay.CodeNotFound, "there is no queue %s", *q)
	}
	reports := []relay.AuditReport{}
	for _, q := range b.chosen(q) {
		r, err := b.auditQueue(ctx, q)
		if err != nil {
			return nil, unavailable(err)
		}
		reports = append(reports, r)
	}
	return reports, nil
}

// auditor is one queue's audit under way.
type auditor struct {
	relay.AuditReport
	b      *Broker
	queue  relay.Queue
	ledger *relay.Ledger
}

func (a *auditor) find(sequence uint64, id, format string, args ...any) {
	if len(a.Findings) < maxFindings {
		a.Findings = append(a.Findings, relay.AuditFinding{Sequence: sequence, ID: id, What: fmt.Sprintf(format, args...)})
	}
}

func (b *Broker) auditQueue(ctx context.Context, q relay.Queue) (relay.AuditReport, error) {
	a := &auditor{b: b, queue: q}
	a.Organization, a.Destination, a.Findings = q.Organization, q.Destination, []relay.AuditFinding{}
	if err := b.settleGraves(ctx, q); err != nil {
		return a.AuditReport, err
	}
	for _, step := range []func(context.Context) error{a.recount, a.checkJournal, a.checkLetters, a.checkObjects} {
		if err := step(ctx); err != nil {
			return a.AuditReport, err
		}
	}
	a.checkAccount()
	a.Balanced = len(a.Findings) == 0
	return a.AuditReport, nil
}

// recount adds up base and events, in a ledger of its own.
func (a *auditor) recount(ctx context.Context) error {
	var err error
	if a.ledger, err = readLedger(ctx, a.b.nc, baseKey(a.queue)); err != nil {
		return err
	}
	through := a.b.accounts[a.queue.Destination].position()
	err = scan(ctx, a.b.nc, apiGet(eventStream(a.queue.Destination)), eventPrefix(a.queue)+"*", a.ledger.Through()+1, func(s *stored) error {
		if s.sequence > through {
			return errStop // what is settled during the audit is for the next one
		}
		a.EventsRead++
		e, err := relay.DecodeEvent(s.data)
		if err != nil {
			a.find(0, "", "event %d cannot be read: %v", s.sequence, err)
			return nil
		}
		settledBefore := a.ledger.Settled(e.Sequence)
		if !a.ledger.Apply(e, s.sequence) && settledBefore && e.State.Settled() {
			a.SettledTwice++
		}
		return nil
	})
	if err == errStop { //nolint:errorlint // our own, never wrapped
		err = nil
	}
	return err
}

// checkJournal: every sequence is settled, or there to be delivered.
func (a *auditor) checkJournal(ctx context.Context) error {
	state, err := a.b.streamState(ctx, journalStream(a.queue))
	if err != nil {
		return err
	}
	a.Accepted, a.Totals = state.LastSeq, a.ledger.Totals()
	settled := a.Totals.Sum()
	if settled > state.LastSeq {
		a.find(0, "", "%d messages are settled, but only %d were ever accepted", settled, state.LastSeq)
	}
	a.Pending = state.LastSeq - min(settled, state.LastSeq)
	if state.FirstSeq > a.ledger.Floor()+1 {
		a.find(a.ledger.Floor()+1, "", "sequences %d to %d were removed from the journal before all of them were settled",
			a.ledger.Floor()+1, state.FirstSeq-1)
	}
	for _, gone := range state.Deleted {
		if !a.ledger.Settled(gone) {
			a.find(gone, "", "the message was removed from the journal and never settled")
		}
	}
	if state.Lost != nil && len(state.Lost.Msgs) > 0 {
		a.find(state.Lost.Msgs[0], "", "the broker reports %d messages lost by a damaged block", len(state.Lost.Msgs))
	}
	return a.countPending(ctx, state.FirstSeq, state.LastSeq, uint64(len(state.Deleted)))
}

// countPending counts the unsettled messages that the journal really holds,
// which must be as many as the equation says.
func (a *auditor) countPending(_ context.Context, first, last, deleted uint64) error {
	held := uint64(0)
	if last >= first {
		held = last - first + 1 - deleted
	}
	settledHeld := a.ledger.SettledAbove()
	if floor := a.ledger.Floor(); floor >= first {
		settledHeld += floor - first + 1
	}
	if held-min(held, settledHeld) != a.Pending {
		a.find(0, "", "%d messages are pending by the ledger, but the journal holds %d that are not settled", a.Pending, held-min(held, settledHeld))
	}
	return nil
}

// checkLetters: every dead letter is kept whole, and there is no other.
func (a *auditor) checkLetters(ctx context.Context) error {
	want := map[uint64]bool{}
	for _, sequence := range a.ledger.DeadLetters() {
		want[sequence] = true
	}
	err := scan(ctx, a.b.nc, apiGet(deadStream(a.queue.Organization)), deadSubject(a.queue, "*"), 1, func(s *stored) error {
		l, m, err := s.letter()
		if err != nil {
			a.find(0, "", "dead letter at %d cannot be read: %v", s.sequence, err)
			return nil
		}
		if !want[l.Sequence] {
			a.find(l.Sequence, l.ID, "a dead letter is kept whose message is not dead")
		}
		if whole, err := a.b.letterIsWhole(ctx, m); err != nil {
			return err
		} else if !whole {
			a.find(l.Sequence, l.ID, "the body of the dead letter is not the one that was accepted")
		}
		delete(want, l.Sequence)
		return nil
	})
	for sequence := range want {
		a.find(sequence, "", "the message is dead, but its letter is missing")
	}
	return err
}

// checkAccount: what operators are shown is what the record says.
func (a *auditor) checkAccount() {
	a.b.accounts[a.queue.Destination].view(a.queue, func(l *relay.Ledger) {
		if l.Through() != a.ledger.Through() {
			return // events came in during the audit
		}
		for state, n := range l.Totals() {
			if a.Totals[state] != n {
				a.find(0, "", "the account shows %d %s, the events amount to %d", n, state, a.Totals[state])
			}
		}
		if l.Floor() != a.ledger.Floor() {
			a.find(0, "", "the account's floor is %d, the events amount to %d", l.Floor(), a.ledger.Floor())
		}
	})
}

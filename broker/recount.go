package broker

import (
	"context"
	"errors"

	"github.com/theforeman/foreman-relay/relay"
)

// events visits the events of the audited queue from a sequence of the record
// on, up to those that the account had followed when the audit began: what is
// settled during the audit is for the next one. Those that cannot be read are
// left out, as the account does.
func (a *auditor) events(ctx context.Context, from uint64, visit func(relay.Event, *stored) error) error {
	err := scan(ctx, a.b.nc, apiGet(eventStream(a.queue.Destination)), eventPrefix(a.queue)+"*", from, func(s *stored) error {
		if s.sequence > a.account.Through() {
			return errStop
		}
		e, err := relay.DecodeEvent(s.data)
		if err != nil {
			return nil //nolint:nilerr // recount names it
		}
		return visit(e, s)
	})
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

// recount adds up base and events, in a ledger of its own.
func (a *auditor) recount(ctx context.Context) error {
	err := scan(ctx, a.b.nc, apiGet(eventStream(a.queue.Destination)), eventPrefix(a.queue)+"*", a.base.Through()+1, func(s *stored) error {
		e, err := relay.DecodeEvent(s.data)
		if s.sequence > a.account.Through() && err == nil {
			return errStop
		}
		if err != nil {
			a.find(0, "", "event %d cannot be read: %v", s.sequence, err)
			return nil
		}
		e.Recorded = s.at
		a.passing(s)
		if e.State == relay.Started {
			a.ledger.Apply(e, s.sequence)
			a.began(e)
			return nil
		}
		a.EventsRead++
		a.add(e, s.sequence)
		return nil
	})
	if err != nil && !errors.Is(err, errStop) {
		return err
	}
	a.compareCheckpoint()
	a.doubtful()
	return nil
}

// passing does what is due between two events: the account as it is before this
// one is compared with the checkpoint of that moment, and kept as a proof.
func (a *auditor) passing(s *stored) {
	if a.checkpoint != nil && s.sequence > a.checkpoint.Through() {
		a.compareCheckpoint()
	}
	if a.proof == nil && !s.at.Before(a.keep) {
		a.prove()
	}
}

func (a *auditor) compareCheckpoint() {
	if a.checkpoint == nil {
		return
	}
	if difference := a.checkpoint.Differs(a.ledger); difference != "" {
		a.find(0, "", "the stored checkpoint is not what the events up to %d amount to: %s", a.checkpoint.Through(), difference)
	}
	a.checkpoint = nil
}

// add applies one event and looks whether it can be true.
func (a *auditor) add(e relay.Event, sequence uint64) {
	if a.ledger.Refuses(e) {
		a.Refused++
		a.note(e.Sequence, e.ID, "event %d, %s, is not counted: it is about a message of run %d that a power cut took, and whose sequence was given again",
			sequence, e.State, e.Run)
		a.ledger.Apply(e, sequence)
		return
	}
	if a.messages.differs(e.Sequence, e.ID) {
		a.find(e.Sequence, "", "event %d says that it is %s, but of another message, %s: it is not the one that the journal holds", sequence, e.State, e.ID)
	}
	if e.Sequence > a.highest.Sequence {
		a.highest = e
	}
	before, settled := a.ledger.State(e.Sequence), a.ledger.Settled(e.Sequence)
	changed := a.ledger.Apply(e, sequence)
	if e.State.Settled() {
		a.settled(e, before, settled, changed)
	}
}

// settled follows what was settled: once, twice, or perhaps delivered twice.
func (a *auditor) settled(e relay.Event, before relay.State, settled, changed bool) {
	if e.State == relay.Dead && changed {
		a.letters[e.Sequence] = printOf(e.ID)
	}
	switch {
	case settled && !changed:
		a.SettledTwice++
		if before != e.State && !a.base.Settled(e.Sequence) { // how those were settled that the base settles it does not say
			a.note(e.Sequence, e.ID, "it was recorded as %s after it had been recorded as %s, which counts: after a crash or a takeover it was tried again", e.State, before)
		}
	case a.doubt.CheckedRemove(e.Sequence) && !a.earlier(e):
		a.InDoubt++
		a.note(e.Sequence, e.ID, "%s, and %s", e.State, hadBefore(e))
	}
}

func hadBefore(e relay.Event) string {
	if e.Reason == relay.ReasonAlreadyThere {
		return "delivered before: the destination had it already, from a run that was cut off before that was recorded on the disk"
	}
	return "perhaps delivered once before, by a run that was cut off before that was recorded on the disk"
}

// checkJournal: every sequence is settled, or there to be delivered.
func (a *auditor) checkJournal(ctx context.Context) error {
	now, err := a.b.streamState(ctx, journalStream(a.queue))
	if err != nil {
		return err
	}
	a.Accepted, a.Totals = now.LastSeq, a.ledger.Totals()
	settled := a.Totals.Sum()
	if settled > a.Accepted {
		a.find(0, "", "%d messages are settled, but only %d were ever accepted", settled, a.Accepted)
	}
	if a.highest.Sequence > a.Accepted {
		a.find(a.highest.Sequence, a.highest.ID, "an event says that it is %s, but only %d messages were ever accepted", a.highest.State, a.Accepted)
	}
	a.Pending = a.Accepted - min(settled, a.Accepted)
	if first := a.journal.FirstSeq; first > a.ledger.Floor()+1 {
		a.find(a.ledger.Floor()+1, "", "sequences %d to %d were removed from the journal before all of them were settled", a.ledger.Floor()+1, first-1)
	}
	a.checkHoles(now.FirstSeq)
	a.checkSum()
	return nil
}

// checkHoles: what is not settled is there. From the first message on that is
// left now: others were trimmed meanwhile, and so were settled.
func (a *auditor) checkHoles(first uint64) {
	missing := map[uint64]bool{}
	look := func(sequence uint64) {
		if sequence >= first && !a.ledger.Settled(sequence) && !missing[sequence] && len(missing) < relay.MaxAuditFindings {
			missing[sequence] = true
			a.find(sequence, "", "it is not settled, and the journal does not hold it any more")
		}
	}
	for _, gone := range a.journal.Deleted {
		look(gone)
	}
	a.messages.absent(look)
	if lost := a.journal.Lost; lost != nil && len(lost.Msgs) > 0 {
		a.find(lost.Msgs[0], "", "the broker reports %d messages lost by a damaged block", len(lost.Msgs))
	}
}

// checkSum: as many messages are settled as the totals say, one by one.
func (a *auditor) checkSum() {
	if sum, each := a.Totals.Sum(), a.ledger.Floor()+a.ledger.SettledAbove(); sum != each {
		a.find(0, "", "%d messages are settled by their totals, and %d one by one", sum, each)
	}
}

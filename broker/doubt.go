package broker

import "github.com/theforeman/foreman-relay/relay"

// A run that is cut off, by a power cut or a kill, may have delivered messages
// and lost the record of it. Which ones it was nobody knows; those that it can
// have been are known: they were not settled by what the disk kept, they did not
// wait for a time that had not come, and an attempt of them had been allowed
// (reach). They are delivered again, and named.

// began takes the beginning of a run.
func (a *auditor) began(e relay.Event) {
	if e.Reason == relay.ReasonCutOff {
		a.doubt.AddMany(a.ledger.Unsettled(min(e.Reach, e.Sequence), e.Recorded))
	}
	a.run = e.Run
}

// earlier says that a far drain, which lived on, has recorded late what it did in
// the run that was cut off: that is the one delivery, not another.
func (a *auditor) earlier(e relay.Event) bool { return e.Run != 0 && e.Run < a.run }

// doubtful names those that are not settled yet.
func (a *auditor) doubtful() {
	a.InDoubt += a.doubt.GetCardinality()
	for it := a.doubt.Iterator(); it.HasNext() && len(a.Notes) < relay.MaxAuditNotes; {
		a.note(it.Next(), "", "it may have been delivered by a run that was cut off before that was recorded on the disk; it is delivered again")
	}
}

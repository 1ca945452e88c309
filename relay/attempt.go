package relay

import (
	"context"
	"errors"
	"time"
)

// attempt is one try to deliver the head of a lane: fetch its body, deliver,
// decide, record, and only then let the lane go on.
func (t *term) attempt(ctx context.Context, e Entry, p *Permit) {
	if !t.Valid() { // the edge may have been told before that nothing is under way, and settle the message itself
		t.Gate.Drop(p)
		t.x.putBack(e)
		return
	}
	m, ok := t.open(ctx, &e)
	ok = ok && !t.replaced(ctx, e, m)
	if ok && t.Valid() {
		t.deliver(e, m, p)
		return
	}
	t.Gate.Drop(p)
	if ok {
		t.x.putBack(e)
	}
}

// open reads the message of a head and completes the entry with what it says. A
// message that is not to be delivered at all is settled here.
func (t *term) open(ctx context.Context, e *Entry) (*Message, bool) {
	m, err := t.fetch(ctx, *e)
	if m != nil {
		e.ID, e.Keyed, e.Expires = m.ID, m.Key != "", m.Expires
	}
	switch {
	case errors.Is(err, ErrMissing):
		t.Log.Error().Uint64("sequence", e.Sequence).Msg("a message is gone from the journal")
		t.settle(*e, Outcome{State: Discarded, Reason: ReasonMissing}, Result{})
	case errors.Is(err, ErrEnvelope):
		t.settle(*e, Outcome{State: Dead, Reason: ReasonUnknown}, Result{Detail: err.Error()})
	case err != nil:
		t.x.putBack(*e)
	case m.Buried != "": // imported as a letter; the edge settles it too, and once counts
		t.settle(*e, Outcome{State: Dead, Reason: m.Buried}, Result{})
	case m.SettledBefore:
		t.settle(*e, Outcome{State: Duplicate, Reason: ReasonSettledKey}, Result{})
	case t.Knows != nil && !t.Knows(m.Route):
		t.settle(*e, Outcome{State: Dead, Reason: ReasonRouteGone}, Result{Detail: routeGoneText(m.Route)})
	case t.deliveredBefore(m):
		t.settleBefore(*e, m)
	case t.leftInDoubt(m):
		t.settleInDoubt(*e, m)
	default:
		return m, true
	}
	return nil, false
}

func routeGoneText(route string) string {
	return Excerpt([]byte("this drain knows no route \"" + route + "\"; run one that does, and replay the letter"))
}

// settleBefore records what this drain did before and could not record, or what
// the edge has lost since. That attempt counts; none is made.
func (t *term) settleBefore(e Entry, m *Message) {
	o := Outcome{State: Delivered, Reason: ReasonDeliveredBefore, Counted: true}
	t.Log.Info().Str("queue", t.Queue.String()).Str("id", m.ID).Msg("this drain has delivered the message before; it is not sent again")
	t.settle(e, o, Result{})
	t.report(AttemptReport{Queue: t.Queue, Entry: e, Route: m.Route, Outcome: o})
}

// settleInDoubt ends a message whose last attempt was cut off with its process.
func (t *term) settleInDoubt(e Entry, m *Message) {
	o := Outcome{State: Dead, Reason: ReasonAmbiguous, Counted: true}
	r := Result{Ambiguous: true, Detail: "the drain was ended while an attempt was under way"}
	t.settle(e, o, r)
	t.report(AttemptReport{Queue: t.Queue, Entry: e, Route: m.Route, Result: r, Outcome: o})
}

// errOtherRun: the edge was started again, and this term is about to end.
var errOtherRun = errors.New("the edge was started again")

// fetch reads the body, again and again while the broker is away.
func (t *term) fetch(ctx context.Context, e Entry) (*Message, error) {
	for {
		m, err := t.Journal.Message(ctx, e.Sequence)
		switch {
		case m != nil && m.Run != t.Term.Run:
			err = errOtherRun
		case err == nil || errors.Is(err, ErrMissing) || errors.Is(err, ErrEnvelope):
			return m, err
		}
		if !sleep(ctx, retryPause) {
			return nil, err
		}
	}
}

func (t *term) deliver(e Entry, m *Message, p *Permit) {
	policy := t.Policy(m.Route)
	start := t.Now()
	var result Result
	if end, _ := policy.end(e.Accepted, e.Expires); !start.Before(end) {
		t.Gate.Drop(p)
		result = Result{Class: ClassOutage} // past its time without a try: Decide makes it a dead letter
	} else {
		result = t.try(policy, e, m, p, start)
	}
	if t.hard.Err() != nil && result.Class != ClassDelivered && result.Class != ClassAlready {
		t.x.putBack(e) // stopped in the middle: nothing is known about the destination
		return
	}
	now := t.Now()
	outcome := Decide(policy, Attempt{Accepted: e.Accepted, Failures: e.Failures, Slow: e.Slow, Expires: e.Expires}, result, now, t.jitter())
	t.conclude(e, outcome, result)
	t.report(AttemptReport{Queue: t.Queue, Entry: e, Route: m.Route, Result: result, Outcome: outcome, Took: now.Sub(start)})
}

// try makes the attempt, at the expense of the budget if it is a retry: one that
// goes well costs nothing.
func (t *term) try(policy Policy, e Entry, m *Message, p *Permit, start time.Time) Result {
	if e.Attempts == 0 {
		t.Budget.Deposit(start)
	}
	t.begin(policy, m)
	result := t.Destination.Deliver(t.hard, m)
	t.answered(policy, m, result)
	result = t.Gate.Report(t.hard, p, result)
	if e.Attempts > 0 && result.Class.healthy() {
		t.Budget.Refund(t.Now())
		t.x.repaid()
	}
	return result
}

// conclude does to lane and record what the outcome says.
func (t *term) conclude(e Entry, o Outcome, r Result) {
	switch {
	case o.State.Settled():
		t.settle(e, o, r)
	case o.State == Waiting:
		if o.Counted {
			e.Attempts++
		}
		e.Next, e.Failures, e.Slow = o.Next, o.Failures, o.Slow
		t.record(e, o, r)
		t.x.postpone(e)
	default: // an outage: as if it had not been tried
		t.x.putBack(e)
	}
}

// expire settles a message that was found past the end of its time.
func (t *term) expire(ctx context.Context, e Entry) {
	if !t.Valid() { // as before an attempt
		t.x.putBack(e)
		return
	}
	if _, ok := t.open(ctx, &e); !ok {
		return
	}
	_, reason := t.Policy(e.Route).end(e.Accepted, e.Expires)
	o := Outcome{State: Dead, Reason: reason}
	t.settle(e, o, Result{})
	t.report(AttemptReport{Queue: t.Queue, Entry: e, Route: e.Route, Outcome: o})
}

func (t *term) settle(e Entry, o Outcome, r Result) {
	if o.Counted {
		e.Attempts++
	}
	t.record(e, o, r)
	t.x.settle(e)
}

// record writes the event, again and again while the broker is away: the lane
// does not go on before it is known what became of its head. Twice written is
// once counted.
func (t *term) record(e Entry, o Outcome, r Result) {
	event := Event{Sequence: e.Sequence, ID: e.ID, State: o.State, Attempt: e.Attempts, Status: r.Status,
		Reason: o.Reason, Detail: r.Detail, Next: o.Next, Epoch: t.Epoch, Keyed: e.Keyed, Link: o.Link, Ambiguous: r.Ambiguous, Run: t.Term.Run,
		Failures: o.Failures, Slow: o.Slow, Pause: o.Pause}
	if o.Cause != "" { // the letter would say it
		event.Detail = Excerpt([]byte(o.Cause + ": " + r.Detail))
	}
	for {
		err := t.Journal.Record(t.hard, event)
		if err == nil {
			return
		}
		t.Log.Warn().Err(err).Str("id", e.ID).Msg("recording what became of a message failed; trying again")
		if !sleep(t.hard, retryPause) {
			return
		}
	}
}

// report logs the attempt, once, with everything in it, and tells the observer.
func (t *term) report(a AttemptReport) {
	level := t.Log.Debug()
	if a.Outcome.State == Dead || a.Outcome.Pause || a.Outcome.Reason == ReasonDiscardedByPolicy {
		level = t.Log.Warn()
	}
	level.Str("queue", a.Queue.String()).Str("id", a.Entry.ID).Str("route", a.Route).
		Int("attempt", a.Entry.Attempts+1).Str("class", string(a.Result.Class)).Int("status", a.Result.Status).
		Str("state", string(a.Outcome.State)).Str("reason", a.Outcome.Reason).Bool("ambiguous", a.Result.Ambiguous).Str("detail", a.Result.Detail).
		Dur("took", a.Took).Time("next", a.Outcome.Next).Msg("attempt")
	if t.Observe != nil {
		t.Observe(a)
	}
}

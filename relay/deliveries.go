package relay

// Deliveries is a drain's own record of what the destination has taken. It
// closes the gap between the destination's answer and the event: whoever is
// killed in it, or whose edge loses the event, finds the message pending again,
// and here that it must not be sent again.
//
// An error means that the record may not know of it in the next process; nothing
// waits for that to be mended.
type Deliveries interface {
	// Done says whether this message, with this body, was noted before.
	Done(m *Message) bool
	// Note keeps that the destination has the message.
	Note(m *Message) error

	// Begin keeps that an attempt begins which must not be made twice, End that
	// it is over and the destination does not have the message. Unended says
	// whether one began that neither ended nor was noted: the process was ended
	// in the middle of it.
	Begin(m *Message) error
	End(m *Message) error
	Unended(m *Message) bool
}

// deliveredBefore says whether the drain's own record has the message.
func (w *Worker) deliveredBefore(m *Message) bool { return w.Deliveries != nil && w.Deliveries.Done(m) }

// leftInDoubt says whether an attempt was cut off by the end of the process whose
// outcome has to be known.
func (w *Worker) leftInDoubt(m *Message) bool {
	return w.Deliveries != nil && w.Policy(m.Route).GiveUpAmbiguous && w.Deliveries.Unended(m)
}

// begin is told before an attempt.
func (w *Worker) begin(p Policy, m *Message) {
	if w.Deliveries != nil && p.GiveUpAmbiguous {
		w.kept(w.Deliveries.Begin(m))
	}
}

// answered is told after an attempt, before anything else is done with it.
func (w *Worker) answered(p Policy, m *Message, r Result) {
	switch {
	case w.Deliveries == nil:
	case r.Class == ClassDelivered, r.Class == ClassAlready:
		w.kept(w.Deliveries.Note(m))
	case p.GiveUpAmbiguous && !r.Ambiguous:
		w.kept(w.Deliveries.End(m))
	}
}

// kept logs when a record begins to be one that cannot be written, and when that
// ends.
func (w *Worker) kept(err error) {
	switch {
	case err != nil && !w.unkept.Swap(true):
		w.Log.Error().Err(err).Str("queue", w.Queue.String()).
			Msg("the record of deliveries cannot be written; what is delivered meanwhile may be delivered again after a crash")
	case err == nil && w.unkept.Load():
		w.unkept.Store(false)
		w.Log.Info().Str("queue", w.Queue.String()).Msg("the record of deliveries is written again")
	}
}

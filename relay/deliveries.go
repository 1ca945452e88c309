package relay

// Deliveries is a drain's own record of what the destination has taken. It
// closes the gap between the destination's answer and the event: whoever is
// killed in it, or whose edge loses the event, finds the message pending again,
// and here that it must not be sent again.
type Deliveries interface {
	// Done says whether this message, with this body, was noted before.
	Done(m *Message) bool
	// Note keeps that the destination has the message; nil only once it would
	// survive the end of this process. After an error the message is delivered
	// all the same, and may be delivered again.
	Note(m *Message) error
}

// deliveredBefore says whether the drain's own record has the message.
func (w *Worker) deliveredBefore(m *Message) bool { return w.Deliveries != nil && w.Deliveries.Done(m) }

// note keeps that the destination has the message, before that is recorded. A
// record that cannot be written stops nothing; it is logged when that begins and
// when it ends.
func (w *Worker) note(m *Message) {
	if w.Deliveries == nil {
		return
	}
	err := w.Deliveries.Note(m)
	switch {
	case err != nil && !w.unnoted.Swap(true):
		w.Log.Error().Err(err).Str("queue", w.Queue.String()).
			Msg("the record of deliveries cannot be written; what is delivered meanwhile may be delivered again after a crash")
	case err == nil && w.unnoted.Load():
		w.unnoted.Store(false)
		w.Log.Info().Str("queue", w.Queue.String()).Msg("the record of deliveries is written again")
	}
}

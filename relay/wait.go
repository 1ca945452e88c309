package relay

import "time"

// Wait is what is known of a message whose last attempt failed.
type Wait struct {
	Attempts int       `json:"a"`
	Next     time.Time `json:"n"`
	Reason   string    `json:"r,omitempty"`

	Failures int  `json:"f,omitempty"` // attempts that count against the policy
	Slow     int  `json:"w,omitempty"` // attempts in a row that had to wait for somebody else
	Pause    bool `json:"p,omitempty"` // the queue was to be paused for it
	Unsure   bool `json:"x,omitempty"` // nobody knows what came of the last attempt
}

// waitOf is what an event says of a message that waits.
func waitOf(e Event) Wait {
	return Wait{Attempts: e.Attempt, Next: e.Next, Reason: e.Reason, Failures: e.Failures, Slow: e.Slow, Pause: e.Pause, Unsure: e.Ambiguous}.complete()
}

// complete reads what was written before attempts were told apart: all of them
// counted against the policy then. After a pause none does, nor does one of which
// nobody knows what came.
func (w Wait) complete() Wait {
	if w.Failures == 0 && w.Slow == 0 && !w.Pause && !w.Unsure {
		w.Failures = w.Attempts
	}
	return w
}

// recalled is an entry with what is known of its earlier attempts.
func (w Wait) recalled(e Entry) Entry {
	e.Attempts, e.Next, e.Failures, e.Slow = w.Attempts, w.Next, w.Failures, w.Slow
	return e
}

// waitFor is what an entry says of its earlier attempts.
func waitFor(e Entry) Wait {
	return Wait{Attempts: e.Attempts, Next: e.Next, Failures: e.Failures, Slow: e.Slow}
}

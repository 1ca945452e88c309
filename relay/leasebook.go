package relay

import "time"

// LeaseTTL is how long a lease lasts without renewal. Together with the longest
// attempt of the old holder it bounds how long a takeover takes.
const LeaseTTL = 10 * time.Second

// LeaseRequest is what a drain says of itself, every few seconds.
type LeaseRequest struct {
	// Instance is one drain on one machine, across restarts: its state directory
	// is locked, so a new session proves that the old one is gone.
	Instance       string                 `json:"instance"`
	Session        string                 `json:"session"` // one run of the process
	LongestAttempt time.Duration          `json:"longest_attempt_ns"`
	Release        bool                   `json:"release,omitempty"` // nothing is in flight any more
	Breaker        string                 `json:"breaker,omitempty"`
	Down           string                 `json:"down,omitempty"`        // why the circuit is not closed
	DownFor        time.Duration          `json:"down_for_ns,omitempty"` // how long it has not been: clocks may differ
	Queues         map[string]DrainStatus `json:"queues,omitempty"`      // by queue token

	// Edge and Answer are those of the last reply that the drain has done as it
	// says. Another one may have been lost on the way to it.
	Edge   string `json:"edge,omitempty"`
	Answer uint64 `json:"answer,omitempty"`
}

// DrainStatus is what operators see of a queue that is being drained.
type DrainStatus struct {
	Delivering int      `json:"delivering"`
	Underway   []uint64 `json:"underway,omitempty"` // sequences that are being attempted, as many as the gate lets through at most, or recorded as superseded
	Held       int      `json:"held,omitempty"`     // lanes that are due for a retry that the budget has nothing for
	HeldBy     string   `json:"held_by,omitempty"`  // what it waits for at the gate: one of HeldBy…

	Cursor        uint64 `json:"cursor,omitempty"`         // everything up to here has been read
	UrgentThrough uint64 `json:"urgent_through,omitempty"` // number up to which it was told of urgent messages
	UrgentRoom    int    `json:"urgent_room,omitempty"`    // how many more it may be told of
}

// LeaseReply lists the queues of the drain's destination.
type LeaseReply struct {
	TTL    time.Duration `json:"ttl_ns"`
	Grants []Grant       `json:"grants"`
	// Edge is one run of the edge. After another one has begun the drain reads
	// the settled record again: a power cut may have taken the last events.
	Edge string    `json:"edge"`
	Now  time.Time `json:"now"` // by the edge's clock, which counts
	// Run is its number, which says what an event of the drain is about (runs).
	Run    uint64 `json:"run,omitempty"`
	Answer uint64 `json:"answer,omitempty"` // its number, ascending
}

// Grant is one queue, and whether the drain holds it.
type Grant struct {
	Queue   Queue         `json:"queue"`
	Granted bool          `json:"granted"`
	Epoch   uint64        `json:"epoch"`
	Wait    time.Duration `json:"wait_ns"`          // before the first attempt, or before asking again
	Paused  bool          `json:"paused,omitempty"` // no attempt is begun, and the lease is kept
	Weight  int           `json:"weight,omitempty"` // of the queue's organization; 0: as it is configured for the drain
	Hold    bool          `json:"hold,omitempty"`   // the term ends, and the lease is kept: the edge settles something itself

	// Urgent are sequences of pending urgent messages, all that the edge has given
	// a number above UrgentAfter, up to UrgentThrough: the holder need not wait
	// until it has read the journal so far.
	Urgent        []uint64 `json:"urgent,omitempty"`
	UrgentAfter   uint64   `json:"urgent_after,omitempty"`
	UrgentThrough uint64   `json:"urgent_through,omitempty"`
}

// Lease is who drains a queue. What is stored is enough for an edge that starts
// again to be as strict as the one before it.
type Lease struct {
	Epoch    uint64        `json:"epoch"`
	Instance string        `json:"instance"`
	Session  string        `json:"session"`
	Longest  time.Duration `json:"longest_attempt_ns"`
	Begins   time.Time     `json:"begins"` // no attempt before; the edge's clock
	Released bool          `json:"released"`

	Renewed time.Time `json:"-"` // the time of the start for a lease that was read
}

// Decide answers a request at now. It returns the lease as it is then, whether
// the asking drain holds it, how long that drain has to wait, and whether the
// lease must be stored before the answer is given.
func (l Lease) Decide(r LeaseRequest, now time.Time) (next Lease, granted bool, wait time.Duration, store bool) {
	if l.Session == r.Session && l.Epoch > 0 && !l.Released {
		l.Renewed = now
		l.Released = r.Release
		return l, !r.Release, max(0, l.Begins.Sub(now)), r.Release
	}
	if r.Release {
		return l, false, 0, false
	}
	begins := now
	if l.Epoch > 0 {
		switch {
		case l.Instance == r.Instance: // its lock proves that the old session is gone
			begins = later(now, l.Begins)
		case l.Released:
			begins = later(now, l.Begins)
		case now.Before(l.Renewed.Add(LeaseTTL)):
			return l, false, l.Renewed.Add(LeaseTTL).Sub(now), false
		default:
			begins = later(now, later(l.Begins, l.Renewed.Add(LeaseTTL)).Add(l.Longest))
		}
	}
	next = Lease{Epoch: l.Epoch + 1, Instance: r.Instance, Session: r.Session, Longest: r.LongestAttempt,
		Begins: begins, Renewed: now}
	return next, true, begins.Sub(now), true
}

// Held says whether somebody holds the lease at now.
func (l Lease) Held(now time.Time) bool {
	return l.Epoch > 0 && !l.Released && now.Before(l.Renewed.Add(LeaseTTL))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

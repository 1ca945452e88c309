package relay

import "time"

// Policy says how long and how often a message is tried. Attempts come in
// cycles: a few with short delays, then a long delay, which grows from cycle to
// cycle. docs/retries.md has the timeline.
type Policy struct {
	FirstDelay  time.Duration // upper bound of the first delay within a cycle; doubled each time
	MaxDelay    time.Duration // cap of every delay
	SlowDelay   time.Duration // first delay where an operator or a build must finish first
	MaxAttempts int           // failed attempts in all; 0: QuickAttempts x MaxCycles
	MaxAge      time.Duration // from acceptance to a dead letter
	// Expires: MaxAge is the route's own, after which nobody needs the message.
	Expires bool

	QuickAttempts int           // attempts of one cycle; less than 1 means 1
	CycleDelay    time.Duration // upper bound of the first delay between two cycles; doubled each time
	MaxCycles     int
	OnPoison      Poison // empty: PoisonMove
	// Latest: of several messages of the route that wait for one lane (and kind)
	// only the newest is delivered. Not for what must be kept each: reports.
	Latest bool
	// GiveUpAmbiguous: an attempt that was sent, and of which nobody knows what
	// came, makes a dead letter. Without it the message is tried again, and the
	// destination may do it twice.
	GiveUpAmbiguous bool
}

// DefaultPolicy recovers fast from a short fault (first retry within two
// seconds) and tries a poisonous message 24 times in three quarters of an hour.
func DefaultPolicy() Policy {
	return Policy{
		FirstDelay:    2 * time.Second,
		MaxDelay:      10 * time.Minute,
		SlowDelay:     30 * time.Second,
		MaxAge:        7 * 24 * time.Hour,
		QuickAttempts: 3,
		CycleDelay:    time.Minute,
		MaxCycles:     8,
		OnPoison:      PoisonMove,
	}
}

// Expiring is the policy of a route whose messages are of no use after so long.
// It never makes them live longer.
func (p Policy) Expiring(after time.Duration) Policy {
	if after < p.MaxAge {
		p.MaxAge, p.Expires = after, true
	}
	return p
}

// attempts is how many failed ones end a message.
func (p Policy) attempts() int {
	if p.MaxAttempts > 0 {
		return p.MaxAttempts
	}
	return max(1, p.QuickAttempts) * max(1, p.MaxCycles)
}

// delay is the upper bound of the delay after so many failed attempts: a short
// one within a cycle, a long one at its end.
func (p Policy) delay(failures int) time.Duration {
	quick := max(1, p.QuickAttempts)
	if place := failures % quick; place != 0 {
		return doubled(p.FirstDelay, p.MaxDelay, place)
	}
	return doubled(p.CycleDelay, p.MaxDelay, failures/quick)
}

// Once is the policy of a route whose requests the destination would do twice.
func (p Policy) Once() Policy {
	p.GiveUpAmbiguous = true
	return p
}

// end is when a message dies that was accepted, or due, at from, and why. The
// time that a message was given can only make it earlier.
func (p Policy) end(from, expires time.Time) (at time.Time, reason string) {
	at = from.Add(p.MaxAge)
	switch {
	case !expires.IsZero() && expires.Before(at):
		return expires, ReasonExpired
	case p.Expires:
		return at, ReasonExpired
	default:
		return at, ReasonMaxAge
	}
}

// Attempt is what is known about a try when it is judged.
type Attempt struct {
	Accepted time.Time // when the message was accepted
	Failures int       // failed attempts before this one that count against the policy
	Slow     int       // attempts in a row before this one after which somebody else had to act
	Expires  time.Time // the time it was given; zero: none
}

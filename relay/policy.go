package relay

import "time"

// Policy says how long and how often a message is tried.
type Policy struct {
	FirstDelay  time.Duration // upper bound of the first delay; doubled each time
	MaxDelay    time.Duration // cap of every delay
	SlowDelay   time.Duration // first delay where an operator or a build must finish first
	MaxAttempts int           // counted attempts before a dead letter
	MaxAge      time.Duration // from acceptance to a dead letter
	// Expires: MaxAge is the route's own, after which nobody needs the message.
	Expires bool
	// Latest: of several messages of the route that wait for one lane (and kind)
	// only the newest is delivered. Not for what must be kept each: reports.
	Latest bool
	// GiveUpAmbiguous: an attempt that was sent, and of which nobody knows what
	// came, makes a dead letter. Without it the message is tried again, and the
	// destination may do it twice.
	GiveUpAmbiguous bool
}

// DefaultPolicy recovers fast from a short fault (first retry within two
// seconds) and tries a poisonous message for about an hour.
func DefaultPolicy() Policy {
	return Policy{
		FirstDelay:  2 * time.Second,
		MaxDelay:    10 * time.Minute,
		SlowDelay:   30 * time.Second,
		MaxAttempts: 12,
		MaxAge:      7 * 24 * time.Hour,
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
	Number   int       // 1 is the first
	Accepted time.Time // when the message was accepted, or due
	Expires  time.Time // the time it was given; zero: none
}

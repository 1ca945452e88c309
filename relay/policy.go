package relay

import "time"

// Policy says how long and how often a message is tried.
type Policy struct {
	FirstDelay  time.Duration // upper bound of the first delay; doubled each time
	MaxDelay    time.Duration // cap of every delay
	SlowDelay   time.Duration // first delay where an operator or a build must finish first
	MaxAttempts int           // counted attempts before a dead letter
	MaxAge      time.Duration // from acceptance to a dead letter
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

// Attempt is what is known about a try when it is judged.
type Attempt struct {
	Number   int       // 1 is the first
	Accepted time.Time // when the message was accepted
}

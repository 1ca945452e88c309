package relay

import (
	"time"
	"unicode"
)

// Class is what an answer, or its absence, means for the message. The
// classification of real answers is the destination kind's: package foreman for
// Foreman, ClassifyHTTP for any other HTTP service.
type Class string

const (
	// ClassDelivered: the destination has it.
	ClassDelivered Class = "delivered"
	// ClassAlready: the destination had it already; settled as delivered.
	ClassAlready Class = "already"
	// ClassRejected: it will be refused for ever.
	ClassRejected Class = "rejected"
	// ClassTransient: this attempt failed; another may not. Counted.
	ClassTransient Class = "transient"
	// ClassNotReady: the destination says later (a host in build mode). It is
	// tried until its maximum age, whatever the number of attempts.
	ClassNotReady Class = "not-ready"
	// ClassDenied: the destination does not let the relay in; an operator must
	// act. Tried slowly, until the maximum age; the circuit opens.
	ClassDenied Class = "denied"
	// ClassUnavailable: perhaps nobody was there. The circuit opens and a probe
	// tells: no answer to the probe either is an outage, and no attempt is
	// counted; else it is judged as Confirmed says.
	ClassUnavailable Class = "unavailable"
	// ClassOutage: confirmed by a probe. Not counted.
	ClassOutage Class = "outage"
)

// Result is one answer, classified.
type Result struct {
	Class      Class
	Status     int    // HTTP status; 0: no answer
	Reason     string // one of the reasons of outcome.go, or ""
	Detail     string // for people: error text or excerpt of the answer, bounded
	RetryAfter time.Duration
	// Hold keeps the circuit open at least so long (ClassDenied).
	Hold time.Duration
	// Ambiguous: the request was sent and may have been processed.
	Ambiguous bool
	// Confirmed is the class that ClassUnavailable becomes when a probe shows
	// that the destination is there.
	Confirmed Class
}

// MaxDetail bounds Result.Detail, in bytes.
const MaxDetail = 1024

// Excerpt cuts text to MaxDetail and makes it printable.
func Excerpt(b []byte) string {
	const more = "…"
	cut := len(b) > MaxDetail
	if cut {
		b = b[:MaxDetail-len(more)]
	}
	out := make([]rune, 0, len(b))
	for _, r := range string(b) {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			r = ' '
		case r == unicode.ReplacementChar || !unicode.IsPrint(r): // a terminal obeys more than the ASCII controls
			r = '.'
		}
		out = append(out, r)
	}
	if cut {
		return string(out) + more
	}
	return string(out)
}

package relay

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// MaxRetryAfter bounds what a destination may ask for in Retry-After.
const MaxRetryAfter = time.Hour

// minDelay keeps a retry from being no delay at all.
const minDelay = time.Millisecond

// Decide is the verdict on a message after an attempt. It is pure: jitter is in
// [0, 1), now is the time of the verdict. Every delay d is 0 < d <= MaxDelay (or
// what Retry-After asks for, up to MaxRetryAfter), and no next attempt lies
// beyond the end of the message's time: its maximum age, or what it was given.
// Only ClassTransient counts against the number of attempts.
func Decide(p Policy, a Attempt, r Result, now time.Time, jitter float64) Outcome {
	switch r.Class {
	case ClassDelivered:
		return Outcome{State: Delivered, Reason: r.Reason, Counted: true}
	case ClassAlready:
		return Outcome{State: Delivered, Reason: ReasonAlreadyThere, Counted: true}
	case ClassRejected:
		if r.Reason == ReasonDamaged || r.Reason == ReasonUndecryptable {
			return Outcome{State: Dead, Reason: r.Reason, Counted: true}
		}
		return p.poisoned(orReason(r.Reason, ReasonRejected), now)
	}
	if r.Ambiguous && p.GiveUpAmbiguous {
		return Outcome{State: Dead, Reason: ReasonAmbiguous, Counted: true}
	}
	deadline, reason := p.end(a.Accepted, a.Expires)
	if !now.Before(deadline) {
		return tooOld(reason, r)
	}
	var d time.Duration
	o := Outcome{State: Waiting, Reason: r.Reason, Counted: true, Failures: a.Failures}
	switch r.Class {
	case ClassTransient:
		if o.Failures++; o.Failures >= p.attempts() {
			return p.poisoned(ReasonMaxAttempts, now)
		}
		d = jittered(p.delay(o.Failures), jitter)
	case ClassNotReady, ClassDenied:
		o.Reason, o.Slow = orReason(r.Reason, slowReason(r.Class)), a.Slow+1
		d = slowed(doubled(p.SlowDelay, p.MaxDelay, o.Slow), jitter)
	default: // an outage, confirmed or not, burns no attempt
		return outage(a, r, now)
	}
	d = max(d, min(r.RetryAfter, MaxRetryAfter))
	o.Next = now.Add(min(d, deadline.Sub(now)))
	return o
}

// outage leaves a message as if it had not been tried. Of one that was sent all
// the same there must be a trace: the next attempt may be the second delivery.
func outage(a Attempt, r Result, now time.Time) Outcome {
	if !r.Ambiguous {
		return Outcome{State: Queued, Reason: r.Reason}
	}
	return Outcome{State: Waiting, Reason: r.Reason, Next: now.Add(minDelay), Failures: a.Failures, Slow: a.Slow}
}

// tooOld is the end of a message that has reached the end of its time; what had
// to be mended first says more than that.
func tooOld(reason string, r Result) Outcome {
	o := Outcome{State: Dead, Reason: reason}
	if r.Class == ClassDenied {
		o.Reason = ReasonUnauthorized
	}
	o.Counted = r.Class == ClassTransient || r.Class == ClassNotReady || r.Class == ClassDenied
	return o
}

func slowReason(c Class) string {
	if c == ClassDenied {
		return ReasonUnauthorized
	}
	return ReasonNotReady
}

func orReason(reason, fallback string) string {
	if reason == "" {
		return fallback
	}
	return reason
}

// doubled is first * 2^(n-1), at most limit, without overflow.
func doubled(first, limit time.Duration, n int) time.Duration {
	d := max(first, minDelay)
	for i := 1; i < n && d < limit; i++ {
		if d > limit/2 {
			return limit
		}
		d *= 2
	}
	return min(d, max(limit, minDelay))
}

// jittered spreads a delay over (0, d]: full jitter.
func jittered(d time.Duration, jitter float64) time.Duration {
	return min(d, max(minDelay, d-time.Duration(float64(d)*jitter)))
}

// slowed spreads a delay over [d/2, d]: where somebody must act first, soon is
// too soon.
func slowed(d time.Duration, jitter float64) time.Duration {
	return d/2 + jittered(d-d/2, jitter)
}

// ParseRetryAfter reads the header's two forms, seconds and an HTTP date; 0 for
// anything else, and for the past.
func ParseRetryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, MaxRetryAfter)
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return max(0, min(at.Sub(now), MaxRetryAfter))
}

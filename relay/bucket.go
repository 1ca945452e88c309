package relay

import "time"

// bucket holds a rate: each attempt takes a token, and tokens come as the rate
// says. In any time t no more than burst + rate*t attempts begin.
type bucket struct {
	rate   float64 // tokens a second; 0: no bound
	burst  float64
	tokens float64
	at     time.Time // as of then
}

func newBucket(rate float64, burst int) bucket {
	return bucket{rate: rate, burst: float64(max(1, burst)), tokens: 1}
}

// wait is how long it takes until there is a token, at a part of the rate; 0:
// there is one.
func (b *bucket) wait(now time.Time, part float64) time.Duration {
	if b.rate == 0 {
		return 0
	}
	rate := b.rate * part
	if !b.at.IsZero() {
		b.tokens = min(b.burst, b.tokens+rate*max(0, now.Sub(b.at).Seconds()))
	}
	b.at = now
	if b.tokens >= 1 {
		return 0
	}
	return time.Duration(min((1-b.tokens)/rate, maxWait.Seconds())*float64(time.Second)) + time.Microsecond // the sum is rounded
}

// maxWait is for rates so low that no Duration holds the time.
const maxWait = 100 * 365 * 24 * time.Hour

func (b *bucket) take() { b.tokens-- }

// putBack is for an attempt that was not made.
func (b *bucket) putBack() { b.tokens = min(b.burst, b.tokens+1) }

// empty leaves what one attempt needs.
func (b *bucket) empty() { b.tokens = min(b.tokens, 1) }

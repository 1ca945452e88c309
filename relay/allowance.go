package relay

import "time"

// The steps of an allowance: up by one at most every rampStep, or every second
// answer of a slow destination, and at least every slowestStep.
const (
	rampStep    = 250 * time.Millisecond
	slowestStep = 5 * time.Second
)

// allowance is a number of attempts at one time that rises by one and falls by
// half.
type allowance struct {
	value   float64
	most    int
	judged  time.Time // when it could last rise or fall
	fell    time.Time
	pressed bool // since then, somebody waited because of it
}

func newAllowance(start, most int, now time.Time) allowance {
	return allowance{value: float64(min(start, most)), most: most, judged: now}
}

func (a *allowance) limit() int { return int(a.value) }

// part is how much of the most it is, in (0, 1].
func (a *allowance) part() float64 { return a.value / float64(a.most) }

// fall halves the allowance, not below least, after a failed attempt that began
// at a time. What began before it fell last says nothing new: many fail of one
// cause.
func (a *allowance) fall(began, now time.Time, least float64) {
	if !began.After(a.fell) {
		return
	}
	a.value = max(min(a.value, least), a.value/2)
	a.judged, a.fell, a.pressed = now, now, false
}

// due says whether an answer that took so long may move it.
func (a *allowance) due(now time.Time, took time.Duration) bool {
	return now.Sub(a.judged) >= max(rampStep, min(2*took, slowestStep))
}

// rise adds one, if that is of use to anybody.
func (a *allowance) rise(now time.Time) {
	if a.pressed {
		a.value = min(a.value+1, float64(a.most))
	}
	a.judged, a.pressed = now, false
}

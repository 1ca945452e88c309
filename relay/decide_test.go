package relay

import (
	"fmt"
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var decideNow = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func TestDecide(t *testing.T) {
	p := Policy{FirstDelay: 2 * time.Second, CycleDelay: time.Minute, MaxDelay: 10 * time.Minute, SlowDelay: 30 * time.Second,
		QuickAttempts: 3, MaxCycles: 2, MaxAge: 24 * time.Hour}
	young, old := decideNow.Add(-time.Minute), decideNow.Add(-24*time.Hour)
	nearlyOld := decideNow.Add(-24*time.Hour + 3*time.Second)
	in := func(d time.Duration) time.Time { return decideNow.Add(d) }
	first, transient := Attempt{Accepted: young}, Result{Class: ClassTransient}
	failed := func(n int) Attempt { return Attempt{Accepted: young, Failures: n} }
	slow := func(n int) Attempt { return Attempt{Accepted: young, Slow: n} }
	waits := func(failures, slow int, reason string, d time.Duration) Outcome {
		return Outcome{State: Waiting, Reason: reason, Next: in(d), Counted: true, Failures: failures, Slow: slow}
	}
	for name, c := range map[string]struct {
		attempt Attempt
		result  Result
		want    Outcome
	}{
		"delivered":                         {first, Result{Class: ClassDelivered}, Outcome{State: Delivered, Counted: true}},
		"delivered although too old":        {Attempt{Accepted: old}, Result{Class: ClassDelivered}, Outcome{State: Delivered, Counted: true}},
		"already there":                     {failed(9), Result{Class: ClassAlready}, Outcome{State: Delivered, Reason: ReasonAlreadyThere, Counted: true}},
		"rejected":                          {first, Result{Class: ClassRejected}, Outcome{State: Dead, Reason: ReasonRejected, Counted: true}},
		"rejected, too large":               {first, Result{Class: ClassRejected, Reason: ReasonTooLarge}, Outcome{State: Dead, Reason: ReasonTooLarge, Counted: true}},
		"transient, first":                  {first, Result{Class: ClassTransient, Reason: ReasonServerError}, waits(1, 0, ReasonServerError, 2*time.Second)},
		"transient, second":                 {failed(1), transient, waits(2, 0, "", 4*time.Second)},
		"transient, end of the cycle":       {failed(2), transient, waits(3, 0, "", time.Minute)},
		"transient, next cycle":             {failed(3), transient, waits(4, 0, "", 2*time.Second)},
		"transient, last":                   {failed(5), transient, Outcome{State: Dead, Reason: ReasonMaxAttempts, Counted: true}},
		"transient, too old":                {Attempt{Accepted: old}, transient, Outcome{State: Dead, Reason: ReasonMaxAge, Counted: true}},
		"transient after many not ready":    {slow(500), transient, waits(1, 0, "", 2*time.Second)},
		"transient, with Retry-After":       {first, Result{Class: ClassTransient, RetryAfter: time.Minute}, waits(1, 0, "", time.Minute)},
		"transient, absurd Retry-After":     {first, Result{Class: ClassTransient, RetryAfter: 1000 * time.Hour}, waits(1, 0, "", MaxRetryAfter)},
		"transient, next beyond its age":    {Attempt{Accepted: nearlyOld, Failures: 2}, transient, waits(3, 0, "", 3*time.Second)},
		"not ready":                         {first, Result{Class: ClassNotReady}, waits(0, 1, ReasonNotReady, 30*time.Second)},
		"not ready again":                   {slow(1), Result{Class: ClassNotReady}, waits(0, 2, ReasonNotReady, time.Minute)},
		"not ready after failures":          {failed(5), Result{Class: ClassNotReady}, waits(5, 1, ReasonNotReady, 30*time.Second)},
		"not ready, many attempts":          {slow(500), Result{Class: ClassNotReady}, waits(0, 501, ReasonNotReady, 10*time.Minute)},
		"not ready, too old":                {Attempt{Accepted: old}, Result{Class: ClassNotReady}, Outcome{State: Dead, Reason: ReasonMaxAge, Counted: true}},
		"denied":                            {first, Result{Class: ClassDenied}, waits(0, 1, ReasonUnauthorized, 30*time.Second)},
		"denied again and again":            {slow(3), Result{Class: ClassDenied}, waits(0, 4, ReasonUnauthorized, 4*time.Minute)},
		"denied, too old":                   {Attempt{Accepted: old}, Result{Class: ClassDenied}, Outcome{State: Dead, Reason: ReasonUnauthorized, Counted: true}},
		"outage":                            {first, Result{Class: ClassOutage}, Outcome{State: Queued}},
		"outage, after the last attempt":    {failed(500), Result{Class: ClassOutage}, Outcome{State: Queued}},
		"outage, too old":                   {Attempt{Accepted: old}, Result{Class: ClassOutage}, Outcome{State: Dead, Reason: ReasonMaxAge}},
		"unavailable, and nobody has asked": {first, Result{Class: ClassUnavailable, Reason: ReasonTimeout}, Outcome{State: Queued, Reason: ReasonTimeout}},
		"unavailable, too old":              {Attempt{Accepted: old}, Result{Class: ClassUnavailable}, Outcome{State: Dead, Reason: ReasonMaxAge}},
		"sent, and nobody knows":            {first, Result{Class: ClassTransient, Reason: ReasonTimeout, Ambiguous: true}, waits(1, 0, ReasonTimeout, 2*time.Second)},
		"sent into an outage":               {Attempt{Accepted: young, Failures: 2, Slow: 1}, Result{Class: ClassOutage, Reason: ReasonTimeout, Ambiguous: true}, Outcome{State: Waiting, Reason: ReasonTimeout, Next: in(minDelay), Failures: 2, Slow: 1}},
		"a class nobody knows":              {first, Result{Class: "new"}, Outcome{State: Queued}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, Decide(p, c.attempt, c.result, decideNow, 0))
		})
	}
}

// What the destination refuses ends as the policy says; what grew too old is
// nobody's fault and always leaves a letter.
func TestPoison(t *testing.T) {
	young, old := Attempt{Accepted: decideNow, Failures: 23}, Attempt{Accepted: decideNow.Add(-8 * 24 * time.Hour)}
	for _, c := range []struct {
		poison Poison
		reason string
		want   Outcome
	}{
		{"", ReasonMaxAttempts, Outcome{State: Dead, Reason: ReasonMaxAttempts, Counted: true}},
		{PoisonMove, ReasonRejected, Outcome{State: Dead, Reason: ReasonRejected, Counted: true}},
		{PoisonDiscard, ReasonMaxAttempts, Outcome{State: Discarded, Reason: ReasonDiscardedByPolicy, Cause: ReasonMaxAttempts, Counted: true}},
		{PoisonDiscard, ReasonRejected, Outcome{State: Discarded, Reason: ReasonDiscardedByPolicy, Cause: ReasonRejected, Counted: true}},
		{PoisonPause, ReasonMaxAttempts, Outcome{State: Waiting, Reason: ReasonMaxAttempts, Next: decideNow.Add(pauseWait), Counted: true, Pause: true}},
		{PoisonPause, ReasonRejected, Outcome{State: Waiting, Reason: ReasonRejected, Next: decideNow.Add(pauseWait), Counted: true, Pause: true}},
	} {
		p := DefaultPolicy()
		p.OnPoison = c.poison
		class := ClassTransient
		if c.reason == ReasonRejected {
			class = ClassRejected
		}
		require.Equal(t, c.want, Decide(p, young, Result{Class: class}, decideNow, 0), "%s, %s", c.poison, c.reason)
		damaged := Result{Class: ClassRejected, Reason: ReasonDamaged} // by the disk: no resume mends it, and to discard it would be a silent loss
		require.Equal(t, Outcome{State: Dead, Reason: ReasonDamaged, Counted: true}, Decide(p, young, damaged, decideNow, 0), c.poison)
		require.Equal(t, Outcome{State: Dead, Reason: ReasonMaxAge, Counted: true}, Decide(p, old, Result{Class: ClassTransient}, decideNow, 0), c.poison)
	}
}

// Where a second delivery would be done twice, no attempt follows one of which
// nobody knows what came of it; any other is tried again as ever.
func TestARouteThatIsNotTriedAgainWhenNobodyKnows(t *testing.T) {
	p := DefaultPolicy().Once()
	for _, class := range []Class{ClassTransient, ClassUnavailable, ClassOutage, ClassNotReady} {
		o := Decide(p, Attempt{Accepted: decideNow}, Result{Class: class, Ambiguous: true}, decideNow, 0)
		require.Equal(t, Outcome{State: Dead, Reason: ReasonAmbiguous, Counted: true}, o, class)
		o = Decide(p, Attempt{Accepted: decideNow}, Result{Class: class}, decideNow, 0)
		require.False(t, o.State.Settled(), class)
	}
	require.Equal(t, Delivered, Decide(p, Attempt{Accepted: decideNow}, Result{Class: ClassDelivered, Ambiguous: true}, decideNow, 0).State)
}

// A message's own time holds where it is the earlier one, and no attempt is set
// beyond it.
func TestDecideByTheTimeThatAMessageWasGiven(t *testing.T) {
	p := DefaultPolicy()
	failed, soon := Result{Class: ClassTransient, RetryAfter: time.Minute}, decideNow.Add(3*time.Second)
	a := Attempt{Accepted: decideNow.Add(-time.Minute), Expires: soon}
	require.Equal(t, Outcome{State: Waiting, Next: soon, Counted: true, Failures: 1}, Decide(p, a, failed, decideNow, 0))
	require.Equal(t, Outcome{State: Dead, Reason: ReasonExpired, Counted: true}, Decide(p, a, failed, soon, 0))
	require.Equal(t, Outcome{State: Dead, Reason: ReasonExpired}, Decide(p, a, Result{Class: ClassOutage}, soon, 0))
	require.Equal(t, Outcome{State: Delivered, Counted: true}, Decide(p, a, Result{Class: ClassDelivered}, soon, 0), "what was delivered was")
	a.Expires = decideNow.Add(1000 * time.Hour)
	old := a.Accepted.Add(p.MaxAge)
	require.Equal(t, Outcome{State: Dead, Reason: ReasonMaxAge, Counted: true}, Decide(p, a, failed, old, 0), "it only shortens")
}

// Whatever the attempt, the jitter and the class: a delay is above zero, within
// its cap, and never leads beyond the message's age.
func TestDelaysStayWithinTheirBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := DefaultPolicy()
		p.MaxAttempts = math.MaxInt
		p.FirstDelay = time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "first"))
		p.CycleDelay = time.Duration(rapid.Int64Range(1, int64(24*time.Hour)).Draw(t, "cycle"))
		p.MaxDelay = time.Duration(rapid.Int64Range(int64(p.FirstDelay), int64(24*time.Hour)).Draw(t, "max"))
		p.QuickAttempts = rapid.IntRange(0, 20).Draw(t, "quick")
		a := Attempt{Failures: rapid.IntRange(0, 9999).Draw(t, "failures"), Slow: rapid.IntRange(0, 9999).Draw(t, "slow"),
			Accepted: decideNow.Add(-time.Duration(rapid.Int64Range(0, int64(p.MaxAge)-1).Draw(t, "age")))}
		r := Result{Class: rapid.SampledFrom([]Class{ClassTransient, ClassNotReady, ClassDenied}).Draw(t, "class"),
			RetryAfter: time.Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "retry after"))}
		o := Decide(p, a, r, decideNow, rapid.Float64Range(0, math.Nextafter(1, 0)).Draw(t, "jitter"))
		d := o.Next.Sub(decideNow)
		limit := max(p.MaxDelay, minDelay, min(r.RetryAfter, MaxRetryAfter))
		if o.State != Waiting || d <= 0 || d > limit || o.Next.After(a.Accepted.Add(p.MaxAge)) {
			t.Fatalf("%+v: delay %v", o, d)
		}
	})
}

func TestJitterSpreads(t *testing.T) {
	p := DefaultPolicy()
	at := func(jitter float64) time.Duration {
		return Decide(p, Attempt{Accepted: decideNow, Failures: 1}, Result{Class: ClassTransient}, decideNow, jitter).Next.Sub(decideNow)
	}
	require.Equal(t, 4*time.Second, at(0))
	require.Equal(t, 2*time.Second, at(0.5))
	require.Less(t, at(0.999), 10*time.Millisecond)
}

func TestParseRetryAfter(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "120": 2 * time.Minute, " 7 ": 7 * time.Second, "99999999": MaxRetryAfter, "99999999999999999999": 0, "-5": 0, "soon": 0, "1.5": 0,
		decideNow.Add(90 * time.Second).Format(http.TimeFormat): 90 * time.Second,
		decideNow.Add(-time.Hour).Format(http.TimeFormat):       0,
		decideNow.Add(48 * time.Hour).Format(http.TimeFormat):   MaxRetryAfter,
	} {
		require.Equal(t, want, ParseRetryAfter(value, decideNow), fmt.Sprintf("%q", value))
	}
}

// A policy may be written with zeros, or with a cap that doubling would overflow.
func TestADelayIsNeitherZeroNorOverflown(t *testing.T) {
	for name, p := range map[string]Policy{
		"zeros":    {MaxAttempts: math.MaxInt, MaxAge: time.Hour},
		"no limit": {FirstDelay: time.Second, SlowDelay: time.Second, CycleDelay: time.Second, MaxDelay: math.MaxInt64, MaxAttempts: math.MaxInt, MaxAge: time.Hour},
	} {
		for _, class := range []Class{ClassTransient, ClassNotReady, ClassDenied} {
			for attempt := 1; attempt <= 10_000; attempt++ {
				o := Decide(p, Attempt{Failures: attempt - 1, Slow: attempt - 1, Accepted: decideNow}, Result{Class: class}, decideNow, 0)
				if d := o.Next.Sub(decideNow); d < minDelay || d > time.Hour || attempt > 100 && name == "no limit" && d != time.Hour {
					t.Fatalf("%s, %s, attempt %d: %v", name, class, attempt, d)
				}
			}
		}
	}
}

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
	p := Policy{FirstDelay: 2 * time.Second, MaxDelay: 10 * time.Minute, SlowDelay: 30 * time.Second, MaxAttempts: 5, MaxAge: 24 * time.Hour}
	young, old := decideNow.Add(-time.Minute), decideNow.Add(-24*time.Hour)
	nearlyOld := decideNow.Add(-24*time.Hour + 3*time.Second)
	in := func(d time.Duration) time.Time { return decideNow.Add(d) }
	for name, c := range map[string]struct {
		attempt int
		since   time.Time
		result  Result
		want    Outcome
	}{
		"delivered":                         {1, young, Result{Class: ClassDelivered}, Outcome{State: Delivered, Counted: true}},
		"delivered although too old":        {1, old, Result{Class: ClassDelivered}, Outcome{State: Delivered, Counted: true}},
		"already there":                     {9, young, Result{Class: ClassAlready}, Outcome{State: Delivered, Reason: ReasonAlreadyThere, Counted: true}},
		"rejected":                          {1, young, Result{Class: ClassRejected}, Outcome{State: Dead, Reason: ReasonRejected, Counted: true}},
		"rejected, too large":               {1, young, Result{Class: ClassRejected, Reason: ReasonTooLarge}, Outcome{State: Dead, Reason: ReasonTooLarge, Counted: true}},
		"transient, first":                  {1, young, Result{Class: ClassTransient, Reason: ReasonServerError}, Outcome{State: Waiting, Reason: ReasonServerError, Next: in(2 * time.Second), Counted: true}},
		"transient, third":                  {3, young, Result{Class: ClassTransient}, Outcome{State: Waiting, Next: in(8 * time.Second), Counted: true}},
		"transient, last but one":           {4, young, Result{Class: ClassTransient}, Outcome{State: Waiting, Next: in(16 * time.Second), Counted: true}},
		"transient, last":                   {5, young, Result{Class: ClassTransient}, Outcome{State: Dead, Reason: ReasonMaxAttempts, Counted: true}},
		"transient, too old":                {1, old, Result{Class: ClassTransient}, Outcome{State: Dead, Reason: ReasonMaxAge, Counted: true}},
		"transient, with Retry-After":       {1, young, Result{Class: ClassTransient, RetryAfter: time.Minute}, Outcome{State: Waiting, Next: in(time.Minute), Counted: true}},
		"transient, absurd Retry-After":     {1, young, Result{Class: ClassTransient, RetryAfter: 1000 * time.Hour}, Outcome{State: Waiting, Next: in(MaxRetryAfter), Counted: true}},
		"transient, next beyond its age":    {3, nearlyOld, Result{Class: ClassTransient}, Outcome{State: Waiting, Next: in(3 * time.Second), Counted: true}},
		"not ready":                         {1, young, Result{Class: ClassNotReady}, Outcome{State: Waiting, Reason: ReasonNotReady, Next: in(30 * time.Second), Counted: true}},
		"not ready, many attempts":          {500, young, Result{Class: ClassNotReady}, Outcome{State: Waiting, Reason: ReasonNotReady, Next: in(10 * time.Minute), Counted: true}},
		"not ready, too old":                {2, old, Result{Class: ClassNotReady}, Outcome{State: Dead, Reason: ReasonMaxAge, Counted: true}},
		"denied":                            {1, young, Result{Class: ClassDenied}, Outcome{State: Waiting, Reason: ReasonUnauthorized, Next: in(30 * time.Second)}},
		"denied, too old":                   {1, old, Result{Class: ClassDenied}, Outcome{State: Dead, Reason: ReasonUnauthorized}},
		"outage":                            {1, young, Result{Class: ClassOutage}, Outcome{State: Queued}},
		"outage, after the last attempt":    {500, young, Result{Class: ClassOutage}, Outcome{State: Queued}},
		"outage, too old":                   {1, old, Result{Class: ClassOutage}, Outcome{State: Dead, Reason: ReasonMaxAge}},
		"unavailable, and nobody has asked": {1, young, Result{Class: ClassUnavailable, Reason: ReasonTimeout}, Outcome{State: Queued, Reason: ReasonTimeout}},
		"unavailable, too old":              {1, old, Result{Class: ClassUnavailable}, Outcome{State: Dead, Reason: ReasonMaxAge}},
		"sent, and nobody knows":            {1, young, Result{Class: ClassTransient, Reason: ReasonTimeout, Ambiguous: true}, Outcome{State: Waiting, Reason: ReasonTimeout, Next: in(2 * time.Second), Counted: true}},
		"sent into an outage":               {1, young, Result{Class: ClassOutage, Reason: ReasonTimeout, Ambiguous: true}, Outcome{State: Waiting, Reason: ReasonTimeout, Next: in(minDelay)}},
		"a class nobody knows":              {1, young, Result{Class: "new"}, Outcome{State: Queued}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, Decide(p, Attempt{Number: c.attempt, Accepted: c.since}, c.result, decideNow, 0))
		})
	}
}

// Where a second delivery would be done twice, no attempt follows one of which
// nobody knows what came of it; any other is tried again as ever.
func TestARouteThatIsNotTriedAgainWhenNobodyKnows(t *testing.T) {
	p := DefaultPolicy().Once()
	for _, class := range []Class{ClassTransient, ClassUnavailable, ClassOutage, ClassNotReady} {
		o := Decide(p, Attempt{Number: 1, Accepted: decideNow}, Result{Class: class, Ambiguous: true}, decideNow, 0)
		require.Equal(t, Outcome{State: Dead, Reason: ReasonAmbiguous, Counted: true}, o, class)
		o = Decide(p, Attempt{Number: 1, Accepted: decideNow}, Result{Class: class}, decideNow, 0)
		require.False(t, o.State.Settled(), class)
	}
	require.Equal(t, Delivered, Decide(p, Attempt{Number: 1, Accepted: decideNow}, Result{Class: ClassDelivered, Ambiguous: true}, decideNow, 0).State)
}

// A message's own time holds where it is the earlier one, and no attempt is set
// beyond it.
func TestDecideByTheTimeThatAMessageWasGiven(t *testing.T) {
	p := DefaultPolicy()
	failed, soon := Result{Class: ClassTransient, RetryAfter: time.Minute}, decideNow.Add(3*time.Second)
	a := Attempt{Number: 1, Accepted: decideNow.Add(-time.Minute), Expires: soon}
	require.Equal(t, Outcome{State: Waiting, Next: soon, Counted: true}, Decide(p, a, failed, decideNow, 0))
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
		p.MaxDelay = time.Duration(rapid.Int64Range(int64(p.FirstDelay), int64(24*time.Hour)).Draw(t, "max"))
		a := Attempt{Number: rapid.IntRange(1, 10_000).Draw(t, "attempt"), Accepted: decideNow.Add(-time.Duration(rapid.Int64Range(0, int64(p.MaxAge)-1).Draw(t, "age")))}
		r := Result{Class: rapid.SampledFrom([]Class{ClassTransient, ClassNotReady, ClassDenied}).Draw(t, "class"),
			RetryAfter: time.Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "retry after"))}
		o := Decide(p, a, r, decideNow, rapid.Float64Range(0, math.Nextafter(1, 0)).Draw(t, "jitter"))
		d := o.Next.Sub(decideNow)
		if o.State != Waiting || d <= 0 || d > max(p.MaxDelay, MaxRetryAfter) || o.Next.After(a.Accepted.Add(p.MaxAge)) {
			t.Fatalf("%+v: delay %v", o, d)
		}
	})
}

func TestJitterSpreads(t *testing.T) {
	p := DefaultPolicy()
	at := func(jitter float64) time.Duration {
		return Decide(p, Attempt{Number: 3, Accepted: decideNow}, Result{Class: ClassTransient}, decideNow, jitter).Next.Sub(decideNow)
	}
	require.Equal(t, 8*time.Second, at(0))
	require.Equal(t, 4*time.Second, at(0.5))
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
		"no limit": {FirstDelay: time.Second, SlowDelay: time.Second, MaxDelay: math.MaxInt64, MaxAttempts: math.MaxInt, MaxAge: time.Hour},
	} {
		for _, class := range []Class{ClassTransient, ClassNotReady, ClassDenied} {
			for attempt := 1; attempt <= 10_000; attempt++ {
				o := Decide(p, Attempt{Number: attempt, Accepted: decideNow}, Result{Class: class}, decideNow, 0)
				if d := o.Next.Sub(decideNow); d < minDelay || d > time.Hour || attempt > 100 && name == "no limit" && d != time.Hour {
					t.Fatalf("%s, %s, attempt %d: %v", name, class, attempt, d)
				}
			}
		}
	}
}

package relay

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A late callback is useless, a report of yesterday is not: each message dies at
// the age of its route, and the reason says which it was.
func TestEachRouteHasItsAge(t *testing.T) {
	general := Policy{MaxAge: 7 * 24 * time.Hour, MaxAttempts: 3, MaxDelay: time.Minute}
	callback := general.Expiring(24 * time.Hour)
	require.Equal(t, general, general.Expiring(8*24*time.Hour), "no message lives longer for it")

	accepted := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		policy Policy
		age    time.Duration
		want   Outcome
	}{
		{general, 25 * time.Hour, Outcome{State: Queued}},
		{general, 8 * 24 * time.Hour, Outcome{State: Dead, Reason: ReasonMaxAge}},
		{callback, 23 * time.Hour, Outcome{State: Queued}},
		{callback, 24 * time.Hour, Outcome{State: Dead, Reason: ReasonExpired}},
	} {
		got := Decide(c.policy, Attempt{Accepted: accepted}, Result{Class: ClassOutage}, accepted.Add(c.age), 0)
		require.Equal(t, c.want, got, c.age)
	}

	w := &term{Worker: &Worker{Policy: func(route string) Policy {
		if route == "callback" {
			return callback
		}
		return general
	}}}
	x := newIndex(DefaultIndexLimits(), 0, func(uint64) bool { return false })
	x.add([]Entry{{Sequence: 1, Lane: "a", Route: "report", Accepted: accepted}, {Sequence: 2, Lane: "b", Route: "callback", Accepted: accepted},
		{Sequence: 3, Lane: "c", Route: "callback", Accepted: accepted.Add(2 * time.Hour)}})
	require.Equal(t, []string{"callback"}, expiredRoutes(x, w.expired(accepted.Add(25*time.Hour))))
	require.ElementsMatch(t, []string{"callback", "callback", "report"}, expiredRoutes(x, w.expired(accepted.Add(8*24*time.Hour))))
}

// expiredRoutes are the routes of the heads that are expired.
func expiredRoutes(x *index, is func(Entry) bool) (routes []string) {
	for _, l := range x.expired(is) {
		routes = append(routes, x.head(l).Route)
	}
	return routes
}

// The timeline of a failing message with nothing configured, as docs/retries.md
// tells it: upper bounds, the jitter makes each delay shorter.
func TestTheTimelineOfAFailingMessage(t *testing.T) {
	p, accepted := DefaultPolicy(), time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	now, a, delays := accepted, Attempt{Accepted: accepted}, []time.Duration{}
	for {
		o := Decide(p, a, Result{Class: ClassTransient}, now, 0)
		if o.State == Dead {
			require.Equal(t, ReasonMaxAttempts, o.Reason)
			break
		}
		delays = append(delays, o.Next.Sub(now))
		now, a.Failures, a.Slow = o.Next, o.Failures, o.Slow
	}
	want := []time.Duration{}
	for _, cycle := range []time.Duration{1, 2, 4, 8, 10, 10, 10} {
		want = append(want, 2*time.Second, 4*time.Second, cycle*time.Minute)
	}
	require.Equal(t, append(want, 2*time.Second, 4*time.Second), delays)
	require.Equal(t, 45*time.Minute+48*time.Second, now.Sub(accepted))
}

// Cycles bound the attempts, max_attempts does where it is given, and attempts
// that had to wait for somebody else are no part of either.
func TestWhatBoundsTheAttempts(t *testing.T) {
	for name, c := range map[string]struct {
		policy Policy
		want   int
	}{
		"cycles":               {Policy{QuickAttempts: 5, MaxCycles: 3}, 15},
		"max_attempts":         {Policy{QuickAttempts: 5, MaxCycles: 3, MaxAttempts: 7}, 7},
		"more than the cycles": {Policy{QuickAttempts: 5, MaxCycles: 3, MaxAttempts: 100}, 100},
		"nothing":              {Policy{}, 1},
	} {
		c.policy.MaxAge = time.Hour
		a := Attempt{Accepted: decideNow}
		made := 1
		for ; ; made++ {
			notReady := Decide(c.policy, a, Result{Class: ClassNotReady}, decideNow, 0)
			require.Equal(t, a.Failures, notReady.Failures, name)
			a.Slow = notReady.Slow
			o := Decide(c.policy, a, Result{Class: ClassTransient}, decideNow, 0)
			if o.State == Dead {
				break
			}
			a.Failures, a.Slow = o.Failures, o.Slow
		}
		require.Equal(t, c.want, made, name)
	}
}

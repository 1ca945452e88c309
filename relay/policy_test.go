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
		got := Decide(c.policy, Attempt{Number: 1, Accepted: accepted}, Result{Class: ClassOutage}, accepted.Add(c.age), 0)
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

package foreman_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/foreman"
)

// Whatever answers in Foreman's place, to a message of any route: what dies of it
// has a reason that a letter can carry, and what waits has one of the set.
func TestEveryVerdictHasAReasonOfTheSet(t *testing.T) {
	letters := map[string]bool{}
	for _, r := range relay.Reasons() {
		letters[r.Code] = r.Letter
	}
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	ours := http.Header{"Foreman_version": {"3.13"}, "Content-Type": {"application/json"}}
	page := http.Header{"Content-Type": {"text/html"}}
	routes := []string{relay.GenericRoute, "gone"}
	for _, r := range foreman.Routes(relay.DefaultPolicy()) {
		routes = append(routes, r.Name)
	}
	judged := 0
	judge := func(route string, a relay.Answer) {
		r := foreman.Classify(route, a, now)
		for _, class := range []relay.Class{r.Class, r.Confirmed} {
			if class == "" || class == relay.ClassUnavailable {
				continue
			}
			r.Class = class
			for _, attempt := range []relay.Attempt{{Accepted: now}, {Failures: 99, Accepted: now}, {Accepted: now.Add(-30 * 24 * time.Hour)}} {
				o := relay.Decide(relay.DefaultPolicy(), attempt, r, now, 0.5)
				isLetter, known := letters[o.Reason]
				require.True(t, o.State != relay.Dead || isLetter, "%s: %d becomes %+v", route, a.Status, o)
				require.True(t, known || o.Reason == "" && o.State != relay.Dead, "%s: %d becomes %+v", route, a.Status, o)
				judged++
			}
		}
	}
	for _, route := range routes {
		for status := 100; status <= 599; status++ {
			judge(route, relay.Answer{Status: status, Header: ours, Body: []byte(`{"message":"no"}`)})
			judge(route, relay.Answer{Status: status, Header: page, Body: []byte(`<html>`)})
		}
		judge(route, relay.Answer{Err: errors.New("cut")})
	}
	require.Greater(t, judged, 10_000)
}

package handlers_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

// Every route that stores takes the times, absolute or from now by this clock,
// and the priority.
func TestTimesAndPriority(t *testing.T) {
	for name, c := range map[string]struct {
		headers            []string
		notBefore, expires time.Time
		urgent             bool
	}{
		"none":                     {},
		"absolute":                 {[]string{"Relay-Not-Before", "2026-11-23T13:00:00Z", "Relay-Expires", "Mon, 23 Nov 2026 14:00:00 GMT"}, noon.Add(time.Hour), noon.Add(2 * time.Hour), false},
		"from now":                 {[]string{"Relay-Not-Before", "90s", "Relay-Expires", "7200"}, noon.Add(90 * time.Second), noon.Add(2 * time.Hour), false},
		"due already":              {[]string{"Relay-Not-Before", "2026-11-23T11:59:59Z"}, time.Time{}, time.Time{}, false},
		"due now":                  {[]string{"Relay-Not-Before", "0"}, time.Time{}, time.Time{}, false},
		"as far ahead as it goes":  {[]string{"Relay-Not-Before", "168h"}, noon.Add(168 * time.Hour), time.Time{}, false},
		"expires after it is dead": {[]string{"Relay-Expires", "9999-12-31T00:00:00Z"}, time.Time{}, time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), false},
		"urgent":                   {[]string{"Relay-Priority", "urgent"}, time.Time{}, time.Time{}, true},
		"bulk":                     {[]string{"Relay-Priority", "bulk"}, time.Time{}, time.Time{}, false},
	} {
		for path, body := range map[string]string{reportPath: report, factsPath: facts, queuePath: "{}"} {
			t.Run(name+path, func(t *testing.T) {
				b := newEdge(t, nil)
				w := b.do(post(path, body, c.headers...))
				require.Less(t, w.Code, 300, w.Body)
				m := b.intake.one(t)
				require.True(t, c.notBefore.Equal(m.NotBefore), m.NotBefore)
				require.True(t, c.expires.Equal(m.Expires), m.Expires)
				require.Equal(t, c.urgent, m.Urgent)
			})
		}
	}
}

func TestWrongTimesAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		headers []string
		status  int
		code    relay.Code
		says    string
	}{
		"unreadable due":      {[]string{"Relay-Not-Before", "tomorrow"}, 400, relay.CodeMalformed, `header Relay-Not-Before: "tomorrow" is no time: write it as in 2006-01-02T15:04:05Z`},
		"unreadable expiry":   {[]string{"Relay-Expires", "1.5"}, 400, relay.CodeMalformed, `header Relay-Expires: "1.5" is no time`},
		"expired":             {[]string{"Relay-Expires", "2026-11-23T11:00:00Z"}, 422, relay.CodeInvalid, "header Relay-Expires: 2026-11-23T11:00:00Z is over, by this clock it is 2026-11-23T12:00:00Z"},
		"expired for ever":    {[]string{"Relay-Expires", "0001-01-01T00:00:00Z"}, 422, relay.CodeInvalid, "header Relay-Expires: 0001-01-01T00:00:00Z is over"},
		"expires at once":     {[]string{"Relay-Expires", "0s"}, 422, relay.CodeInvalid, "is over"},
		"expires before due":  {[]string{"Relay-Expires", "1h", "Relay-Not-Before", "2h"}, 422, relay.CodeInvalid, "would expire at 2026-11-23T13:00:00Z, before it may be delivered at 2026-11-23T14:00:00Z"},
		"expires when due":    {[]string{"Relay-Expires", "1h", "Relay-Not-Before", "1h"}, 422, relay.CodeInvalid, "would expire"},
		"too far ahead":       {[]string{"Relay-Not-Before", "168h1s"}, 422, relay.CodeInvalid, "header Relay-Not-Before: 2026-11-30T12:00:01Z is further ahead than 168h0m0s"},
		"unknown priority":    {[]string{"Relay-Priority", "high"}, 400, relay.CodeMalformed, `header Relay-Priority: "high" is no priority; write urgent or bulk`},
		"given twice":         {[]string{"Relay-Expires", "1h", "Relay-Expires", "2h"}, 400, relay.CodeMalformed, "Relay-Expires is given 2 times"},
		"empty":               {[]string{"Relay-Not-Before", ""}, 400, relay.CodeMalformed, "Relay-Not-Before is empty"},
		"neither times nor a": {[]string{"Relay-Priority", "\x01"}, 400, relay.CodeMalformed, "printable"},
	} {
		for path, body := range map[string]string{reportPath: report, queuePath: "{}"} {
			t.Run(name+path, func(t *testing.T) {
				b := newEdge(t, nil)
				w := b.do(post(path, body, c.headers...))
				require.Equal(t, c.status, w.Code, w.Body)
				p := recorded(t, w, c.code)
				require.Contains(t, p.Detail, c.says)
				require.Empty(t, b.intake.accepted())
			})
		}
	}
}

// A route may be urgent by itself, or have a shorter age; a message of no route
// has the general one.
func TestARouteHasItsOwnTimes(t *testing.T) {
	b := newEdge(t, func(o *handlers.EdgeOptions) {
		o.Policy.MaxAge = 2 * time.Hour
		for i := range o.Routes {
			o.Routes[i].Urgent, o.Routes[i].Policy.MaxAge = true, time.Hour
		}
	})
	require.Less(t, b.do(post(factsPath, facts, "Relay-Not-Before", "1h")).Code, 300)
	require.True(t, b.intake.one(t).Urgent)
	require.Contains(t, recorded(t, b.do(post(factsPath, facts, "Relay-Not-Before", "61m")), relay.CodeInvalid).Detail, "1h0m0s")
	require.Contains(t, recorded(t, b.do(post(queuePath, "{}", "Relay-Not-Before", "121m")), relay.CodeInvalid).Detail, "2h0m0s")
	require.Equal(t, http.StatusAccepted, b.do(post(queuePath, "{}", "Relay-Not-Before", "119m")).Code)
}

// Who has the id sees the times.
func TestTheStatusHasTheTimes(t *testing.T) {
	b := newEdge(t, nil)
	due, over := noon.Add(time.Hour), noon.Add(2*time.Hour)
	b.intake.status = func(id string) (relay.MessageStatus, error) {
		return relay.MessageStatus{ID: id, State: relay.Scheduled, NotBefore: &due, Expires: &over}, nil
	}
	w := b.do(httptest.NewRequest(http.MethodGet, "/relay/v1/messages/"+relay.FreshID(queue), nil))
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Contains(t, w.Body.String(), `"state":"scheduled"`)
	require.Contains(t, w.Body.String(), `"not_before":"2026-11-23T13:00:00Z","expires":"2026-11-23T14:00:00Z"`)
}

// A sender that repeats what was accepted gets its receipt, also when the times
// are over by now: a refusal would say that nothing was stored.
func TestARepeatedRequestIsNotTooLate(t *testing.T) {
	now := noon
	b := newEdge(t, func(o *handlers.EdgeOptions) { o.Now = func() time.Time { return now } })
	headers := []string{"Idempotency-Key", "k", "Relay-Expires", "2026-11-23T13:00:00Z"}
	first := b.do(post(queuePath, "{}", headers...))
	require.Equal(t, http.StatusAccepted, first.Code)
	now = noon.Add(2 * time.Hour)
	again := b.do(post(queuePath, "{}", headers...))
	require.Equal(t, http.StatusAccepted, again.Code, again.Body)
	require.Equal(t, first.Header().Get("Relay-Message-Id"), again.Header().Get("Relay-Message-Id"))
	require.Equal(t, "true", again.Header().Get("Idempotent-Replayed"))
	require.Len(t, b.intake.accepted(), 1)
	headers[1] = "another"
	recorded(t, b.do(post(queuePath, "{}", headers...)), relay.CodeInvalid)
}

package relay

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestExplain(t *testing.T) {
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) *time.Time { at := now.Add(-d); return &at }
	soon := now.Add(90 * time.Second)
	healthy := QueueStatus{Organization: "A B", Destination: "foreman", Pending: 3, Delivering: 1, Breaker: "closed", Drain: "drain-1"}
	queue := func(change func(*QueueStatus)) QueueStatus {
		q := healthy
		change(&q)
		return q
	}
	message := func(state State, events ...EventStatus) MessageStatus {
		return MessageStatus{ID: "the-id", State: state, Lane: "web", AcceptedAt: ago(time.Hour), Events: events}
	}
	failed := func(reason string) MessageStatus {
		m := message(Waiting, EventStatus{At: *ago(time.Minute), State: Waiting, Attempt: 2, Status: 500, Reason: reason, Detail: "oops"})
		m.Attempts, m.NextAttempt, m.Reason = 2, &soon, reason
		return m
	}
	overdue := failed(ReasonServerError)
	overdue.NextAttempt = ago(30 * time.Second)
	replaced := message(Superseded, EventStatus{At: now, State: Superseded})
	replaced.ReplacedBy = "new-id"
	outdated := message(Superseded, EventStatus{At: now, State: Superseded, Reason: ReasonNewer})
	outdated.ReplacedBy = "new-id"
	unsure := message(Waiting, EventStatus{At: *ago(time.Minute), State: Waiting, Reason: ReasonTimeout, Detail: "oops", Ambiguous: true})
	unsure.NextAttempt, unsure.Reason = &soon, ReasonTimeout
	lost := message(Dead, EventStatus{At: now, Attempt: 1, Reason: ReasonAmbiguous, Detail: "no answer", Ambiguous: true})
	lost.Reason = ReasonAmbiguous
	damaged := message(Dead, EventStatus{At: now, Attempt: 1, Reason: ReasonDamaged, Detail: "piece 2 of 3"})
	damaged.Reason = ReasonDamaged
	scheduled := message(Scheduled)
	scheduled.NotBefore = &soon
	for name, c := range map[string]struct {
		c       Case
		stands  string
		because []string // the beginning of each
		blocked []string
		next    string
		do      string // all of it, divided by newlines
	}{
		"delivered": {Case{Message: message(Delivered, EventStatus{At: now, Attempt: 1, Status: 201}), Queue: healthy},
			"Delivered at 2026-11-24 08:00:00 UTC, by attempt 1, answer 201.", nil, nil, "Nothing: it is settled.", ""},
		"already there": {Case{Message: message(Delivered, EventStatus{At: now, Attempt: 1, Status: 422, Reason: ReasonAlreadyThere, Detail: "taken"}), Queue: healthy},
			"Delivered: the destination had it already, as it said at 2026-11-24 08:00:00 UTC, answer 422: taken.", nil, nil, "Nothing: it is settled.", ""},
		"delivered before": {Case{Message: message(Delivered, EventStatus{At: now, Attempt: 1, Reason: ReasonDeliveredBefore}), Queue: healthy},
			"Delivered before: at 2026-11-24 08:00:00 UTC the drain found in its own record that the destination has it, and did not send it again.", nil, nil, "Nothing: it is settled.", ""},
		"sent, and nobody knows": {Case{Message: unsure, Queue: healthy},
			"Waiting: an attempt was sent, and nobody knows what came of it at 2026-11-24 07:59:00 UTC: timeout: oops. The next one may be the second delivery.",
			[]string{"Its last attempt failed (timeout), and it is not tried again before 2026-11-24 08:01:30 UTC."}, []string{BlockedByWait},
			"Attempt 1 is made at 2026-11-24 08:01:30 UTC, in 1m30s.", ""},
		"damaged": {Case{Message: damaged, Queue: healthy},
			"Given up at 2026-11-24 08:00:00 UTC after 1 attempt: damaged: piece 2 of 3. It is kept as far as it is there as a dead letter.", nil, nil, "Nothing by itself.",
			"See it: foreman-relay dlq show the-id\nHave its sender send it again, and give this one up: foreman-relay dlq discard --yes the-id"},
		"given up, and nobody knows": {Case{Message: lost, Queue: healthy},
			"Given up at 2026-11-24 08:00:00 UTC after 1 attempt: ambiguous: no answer. It is kept whole as a dead letter.", nil, nil, "Nothing by itself.",
			"Look whether the destination has it: it was sent, and no answer came; replay it only if it is not there\n" +
				"See it: foreman-relay dlq show the-id\nOnce the cause is gone, have it delivered: foreman-relay dlq replay the-id\nOr give it up: foreman-relay dlq discard --yes the-id"},
		"dead": {Case{Message: message(Dead, EventStatus{At: now, Attempt: 12, Status: 500, Reason: ReasonMaxAttempts, Detail: "oops"}), Queue: healthy},
			"Given up at 2026-11-24 08:00:00 UTC after 12 attempts: max_attempts, answer 500: oops. It is kept whole as a dead letter.", nil, nil, "Nothing by itself.",
			"See it: foreman-relay dlq show the-id\nOnce the cause is gone, have it delivered: foreman-relay dlq replay the-id\nOr give it up: foreman-relay dlq discard --yes the-id"},
		"superseded": {Case{Message: replaced, Queue: healthy}, "Replaced at 2026-11-24 08:00:00 UTC by new-id, which delivers the same body.", nil, nil,
			"Nothing: it is settled.", "See the one that replaced it: foreman-relay message why new-id"},
		"a newer one": {Case{Message: outdated, Queue: healthy}, "Not delivered: replaced at 2026-11-24 08:00:00 UTC by new-id, which is newer; of this route only the newest is delivered.", nil, nil,
			"Nothing: it is settled.", "See the one that replaced it: foreman-relay message why new-id"},
		"discarded": {Case{Message: message(Discarded, EventStatus{At: now, Reason: ReasonOperator}), Queue: healthy},
			"Discarded at 2026-11-24 08:00:00 UTC: operator.", nil, nil, "Nothing: it is settled.", ""},
		"duplicate": {Case{Message: message(Duplicate, EventStatus{At: now}), Queue: healthy},
			"Not delivered: found at 2026-11-24 08:00:00 UTC to have the key of a message that was settled before.", nil, nil, "Nothing: it is settled.", ""},
		"delivering": {Case{Message: message(Delivering), Queue: healthy}, "Attempt 1 to deliver it is under way.", nil, nil,
			"Its answer decides: delivered, tried again later, or a dead letter.", ""},
		"its turn": {Case{Message: message(Queued), Queue: healthy}, "Accepted at 2026-11-24 07:00:00 UTC and not delivered yet.",
			[]string{"It is the first of its lane and waits for its turn among the others: 3 pending in the queue, 1 being attempted."}, nil,
			"An attempt begins as soon as the destination is trusted with one more.", ""},
		"its share": {Case{Message: message(Queued), Queue: queue(func(q *QueueStatus) { q.HeldBy = HeldByShare })}, "Accepted at 2026-11-24 07:00:00 UTC and not delivered yet.",
			[]string{"It is the first of its lane and waits for its turn among the others: 3 pending in the queue, 1 being attempted; the destination is trusted with no more attempts of this queue at one time: it waits for its share."},
			[]string{HeldByShare}, "An attempt begins as soon as the destination is trusted with one more.", ""},
		"the rate": {Case{Message: message(Queued), Queue: queue(func(q *QueueStatus) { q.HeldBy = HeldByRate })}, "Accepted at 2026-11-24 07:00:00 UTC and not delivered yet.",
			[]string{"It is the first of its lane and waits for its turn among the others: 3 pending in the queue, 1 being attempted; the rate for the destination is used up."},
			[]string{HeldByRate}, "An attempt begins as soon as the rate allows one.", "If the destination bears more, raise its rate: foreman.rate"},
		"throttled": {Case{Message: message(Queued), Queue: queue(func(q *QueueStatus) { q.HeldBy = HeldByQuiet })}, "Accepted at 2026-11-24 07:00:00 UTC and not delivered yet.",
			[]string{"It is the first of its lane and waits for its turn among the others: 3 pending in the queue, 1 being attempted; the destination asked to be left alone for a time"},
			[]string{HeldByQuiet}, "An attempt begins once that time is over.", ""},
		"scheduled": {Case{Message: scheduled, Queue: healthy}, "Accepted at 2026-11-24 07:00:00 UTC and scheduled for 2026-11-24 08:01:30 UTC.",
			[]string{"Its sender wants it delivered not before 2026-11-24 08:01:30 UTC; it holds up nothing until then."}, []string{BlockedByTime},
			"It is due at 2026-11-24 08:01:30 UTC, in 1m30s, and delivered as soon as its lane is free.", ""},
		"paused": {Case{Message: message(Queued), Queue: queue(func(q *QueueStatus) {
			q.Paused, q.Pause = true, &Pause{At: *ago(time.Minute), By: "me", Reason: "upgrade"}
		})},
			"Accepted at 2026-11-24 07:00:00 UTC and not delivered yet.", []string{"The queue A B/foreman is paused by me since 2026-11-24 07:59:00 UTC: upgrade."},
			[]string{BlockedByPause}, "No attempt until the queue is resumed.", "Resume the queue: foreman-relay queue resume 'A B/foreman'"},
		"no drain": {Case{Message: message(Queued), Queue: queue(func(q *QueueStatus) { q.Drain, q.Breaker = "", "unknown" })},
			"Accepted at 2026-11-24 07:00:00 UTC and not delivered yet.", []string{"Nobody holds the lease of the queue A B/foreman: no drain is connected."},
			[]string{BlockedByNoDrain}, "Nothing until a drain takes the queue's lease.",
			"Start `foreman-relay drain` where the destination can be reached, or give `foreman-relay serve` its --foreman-url"},
		"an outage": {Case{Message: message(Queued), Queue: queue(func(q *QueueStatus) {
			q.Breaker, q.BreakerSince, q.BreakerReason = "open", ago(time.Minute), "connection refused"
		})},
			"Accepted at 2026-11-24 07:00:00 UTC and not delivered yet.",
			[]string{"The circuit to the destination is open, not closed since 2026-11-24 07:59:00 UTC (1m0s), because: connection refused."},
			[]string{BlockedByCircuit}, "The destination is probed every few seconds, and one attempt tries the way once it may.", "See why the destination does not answer as it should"},
		"not let in": {Case{Message: failed(ReasonUnauthorized), Queue: queue(func(q *QueueStatus) { q.Breaker, q.BreakerReason = "open", "unauthorized: 403" })},
			"Waiting since attempt 2 failed at 2026-11-24 07:59:00 UTC: unauthorized, answer 500: oops.",
			[]string{"The circuit to the destination is open, because: unauthorized: 403.", "Its last attempt failed (unauthorized), and it is not tried again before"},
			[]string{BlockedByCircuit, BlockedByWait}, "The destination is probed every few seconds, and one attempt tries the way once it may.", letIn},
		"waiting": {Case{Message: failed(ReasonServerError), Queue: healthy}, "Waiting since attempt 2 failed at 2026-11-24 07:59:00 UTC: server_error, answer 500: oops.",
			[]string{"Its last attempt failed (server_error), and it is not tried again before 2026-11-24 08:01:30 UTC."}, []string{BlockedByWait},
			"Attempt 3 is made at 2026-11-24 08:01:30 UTC, in 1m30s.", ""},
		"held by the budget": {Case{Message: overdue, Queue: queue(func(q *QueueStatus) { q.RetriesHeld = 7 })}, "Waiting since attempt 2 failed at 2026-11-24 07:59:00 UTC: server_error, answer 500: oops.",
			[]string{"Its next attempt has been due since 2026-11-24 07:59:30 UTC, and is held back: too many retries fail", "Its last attempt failed (server_error), and it is not tried again before"},
			[]string{BlockedByBudget, BlockedByWait}, "Attempt 3 is made in its turn, when the retry budget has one more (foreman.retry_percent, foreman.retry_floor).",
			"See what fails: foreman-relay message ls --state waiting"},
		"behind another": {Case{Message: message(Queued), Queue: healthy, AheadCount: MaxAheadCounted,
			Ahead: &MessageSummary{ID: "first-id", State: Waiting, Attempts: 1, Reason: ReasonNotReady, NextAttempt: &soon}},
			"Accepted at 2026-11-24 07:00:00 UTC and not delivered yet.",
			[]string{"It waits for its turn behind first-id of the same lane (web), which is waiting after 1 attempt: not_ready; ahead of it: 1000 or more."},
			[]string{BlockedByLane}, "The first of its lane is tried again at 2026-11-24 08:01:30 UTC, in 1m30s; its turn comes when what is ahead of it (1000 or more) is settled.",
			"See the one it waits for: foreman-relay message why first-id"},
	} {
		t.Run(name, func(t *testing.T) {
			e := Explain(c.c, now)
			require.Equal(t, c.stands, e.Stands)
			require.Len(t, e.Because, len(c.because))
			for i, because := range c.because {
				require.True(t, strings.HasPrefix(e.Because[i], because), e.Because[i])
			}
			require.Equal(t, append([]string{}, c.blocked...), e.Blocked)
			require.Equal(t, c.next, e.Next)
			require.Equal(t, c.do, strings.Join(e.Do, "\n"))
			require.Equal(t, c.c, e.Case)
		})
	}
}

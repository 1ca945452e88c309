package broker_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

// failing fails so many attempts of a message with an answer of its own each, and
// refuses the next one.
func failing(attempts int) func(int, *relay.Message) relay.Result {
	var mu sync.Mutex
	tries := map[string]int{}
	return func(_ int, m *relay.Message) relay.Result {
		mu.Lock()
		defer mu.Unlock()
		tries[m.ID]++
		if n := tries[m.ID]; n <= attempts {
			return relay.Result{Class: relay.ClassTransient, Status: 500, Reason: relay.ReasonServerError, Detail: fmt.Sprint("answer ", n, " for ", m.Lane)}
		}
		return relay.Result{Class: relay.ClassRejected, Status: 422, Reason: relay.ReasonRejected, Detail: "never"}
	}
}

func quick(attempts int) func(*relay.DrainOptions) {
	return func(o *relay.DrainOptions) {
		p := relay.DefaultPolicy()
		p.FirstDelay, p.MaxDelay, p.MaxAttempts = time.Millisecond, time.Millisecond, attempts
		o.Policy = func(string) relay.Policy { return p }
	}
}

// A letter keeps every attempt, each letter its own, after the events are gone
// and over a restart.
func TestALetterKeepsItsHistory(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	short := func(o *broker.Options) { o.RecordWindow = time.Second }
	b := open(t, dir, short)
	stop := drain(t, b, newDestination(failing(3)), quick(12))
	var ids []string
	for n := range 20 {
		ids = append(ids, accept(t, b, message(fmt.Sprint("host", n), "", "x")).ID)
	}
	first := accept(t, b, message("other", "", "y"))
	status(t, b, func(s relay.QueueStatus) bool { return s.Dead == 21 })
	stop()
	check := func() {
		t.Helper()
		for n, id := range append(ids, first.ID) {
			l, err := b.DeadLetter(t.Context(), id)
			require.NoError(t, err)
			require.NotNil(t, l.History)
			require.Zero(t, l.History.Dropped)
			require.Len(t, l.History.Events, 4, "host%d", n)
			for i, e := range l.History.Events[:3] {
				require.Equal(t, []any{relay.Waiting, i + 1, 500, fmt.Sprint("answer ", i+1, " for ", l.Lane)}, []any{e.State, e.Attempt, e.Status, e.Detail})
				require.NotNil(t, e.Next)
			}
			last := l.History.Events[3]
			require.Equal(t, []any{relay.Dead, 4, 422, "never", relay.ReasonRejected}, []any{last.State, last.Attempt, last.Status, last.Detail, last.Reason})
		}
	}
	check()
	require.Eventually(t, func() bool {
		events, err := broker.Events(t.Context(), b, queue.Destination)
		return err == nil && events == 0
	}, 20*time.Second, 20*time.Millisecond, "the events go")
	check()
	b.Close()
	b = open(t, dir, short)
	check()
	balanced(t, b)
}

// Of very many attempts the oldest are dropped and counted; a message that was
// refused at once has its end alone.
func TestALongHistoryIsCut(t *testing.T) {
	b := open(t, stateDir(t), nil)
	drain(t, b, newDestination(failing(60)), quick(100))
	long := accept(t, b, message("long", "", "x"))
	status(t, b, func(s relay.QueueStatus) bool { return s.Dead == 1 })
	l, err := b.DeadLetter(t.Context(), long.ID)
	require.NoError(t, err)
	require.Equal(t, []int{relay.MaxHistory, 61 - relay.MaxHistory, 61}, []int{len(l.History.Events), l.History.Dropped, l.Attempts})
	require.Equal(t, 61-relay.MaxHistory+1, l.History.Events[0].Attempt)
	balanced(t, b)
}

// Attempts whose events are gone when the letter is made are counted.
func TestWhatIsGoneOfAHistoryIsCounted(t *testing.T) {
	b := open(t, stateDir(t), func(o *broker.Options) { o.RecordWindow = time.Second })
	r := accept(t, b, message("host", "", "x"))
	e := relay.Event{Sequence: 1, ID: r.ID, State: relay.Waiting, Reason: relay.ReasonServerError, Next: time.Now()}
	for e.Attempt = 1; e.Attempt <= 2; e.Attempt++ {
		require.NoError(t, broker.Record(t.Context(), b, queue, e))
	}
	require.Eventually(t, func() bool {
		events, err := broker.Events(t.Context(), b, queue.Destination)
		return err == nil && events == 0
	}, 20*time.Second, 20*time.Millisecond)
	e.State, e.Reason = relay.Dead, relay.ReasonMaxAttempts
	require.NoError(t, broker.Record(t.Context(), b, queue, e))
	l, err := b.DeadLetter(t.Context(), r.ID)
	require.NoError(t, err)
	require.Equal(t, []int{1, 2, 3}, []int{len(l.History.Events), l.History.Dropped, l.Attempts})
}

func TestTheHistoryOfALetterThatNeverWaited(t *testing.T) {
	b := open(t, stateDir(t), nil)
	drain(t, b, newDestination(rejected), nil)
	r := accept(t, b, message("host", "", "x"))
	status(t, b, settled)
	l, err := b.DeadLetter(t.Context(), r.ID)
	require.NoError(t, err)
	require.Len(t, l.History.Events, 1)
	e := l.History.Events[0]
	require.Equal(t, []any{relay.Dead, 1, 422, relay.ReasonRejected, l.Detail, l.DiedAt}, []any{e.State, e.Attempt, e.Status, e.Reason, e.Detail, e.At})
}

// Who dies of age shows the last answer there was.
func TestALetterThatDiedOfAgeShowsItsLastAnswer(t *testing.T) {
	b := open(t, stateDir(t), nil)
	stop := drain(t, b, newDestination(failing(99)), func(o *relay.DrainOptions) {
		p := relay.DefaultPolicy()
		p.FirstDelay, p.MaxDelay = time.Hour, time.Hour
		o.Policy = func(string) relay.Policy { return p }
	})
	r := accept(t, b, message("host", "", "x"))
	status(t, b, func(s relay.QueueStatus) bool { return s.Waiting == 1 })
	stop()
	later := time.Now().Add(8 * 24 * time.Hour)
	drain(t, b, newDestination(delivered), func(o *relay.DrainOptions) { o.Now = func() time.Time { return later } })
	status(t, b, func(s relay.QueueStatus) bool { return s.Dead == 1 })
	l, err := b.DeadLetter(t.Context(), r.ID)
	require.NoError(t, err)
	require.Equal(t, []any{relay.ReasonMaxAge, 500, "answer 1 for host"}, []any{l.Reason, l.Status, l.Detail})
	require.Len(t, l.History.Events, 2)
}

// A message of a route that the drain does not know is not guessed at: it becomes
// a letter without an attempt, and goes out when it is replayed to a drain that
// knows.
func TestAMessageOfAnUnknownRouteBecomesALetter(t *testing.T) {
	b := open(t, stateDir(t), nil)
	d := newDestination(delivered)
	stop := drain(t, b, d, func(o *relay.DrainOptions) {
		o.Knows = func(route string) bool { return route == relay.GenericRoute }
	})
	gone := message("host", "", "gone")
	gone.Route = "future"
	letter := accept(t, b, gone)
	accept(t, b, message("host", "", "known"))
	s := status(t, b, settled)
	require.Equal(t, []uint64{1, 1}, []uint64{s.Dead, s.Delivered})
	require.Equal(t, []string{"known"}, d.bodies())
	l, err := b.DeadLetter(t.Context(), letter.ID)
	require.NoError(t, err)
	require.Equal(t, []any{relay.ReasonRouteGone, 0, `this drain knows no route "future"; run one that does, and replay the letter`}, []any{l.Reason, l.Attempts, l.Detail})
	stop()
	drain(t, b, d, nil)
	_, err = b.Replay(t.Context(), letter.ID, relay.Edit{})
	require.NoError(t, err)
	status(t, b, settled)
	require.Equal(t, []string{"known", "gone"}, d.bodies())
	balanced(t, b)
}

// When the letters' quota is reached, nothing is lost and nobody is locked out:
// letters can be seen and discarded, and then the next one is buried.
func TestFullDeadLettersCanBeDiscarded(t *testing.T) {
	b := open(t, stateDir(t), func(o *broker.Options) { o.DeadQuotaBytes = 10_000 })
	drain(t, b, newDestination(rejected), nil)
	var ids []string
	for n := range 4 {
		ids = append(ids, accept(t, b, message("host", "", fmt.Sprint(n, strings.Repeat("x", 4000)))).ID)
	}
	status(t, b, func(s relay.QueueStatus) bool { return s.Dead == 4 })
	names := func() (names []string) {
		letters, err := b.DeadLetters(t.Context(), relay.DeadLetterFilter{})
		require.NoError(t, err)
		for _, l := range letters {
			names = append(names, l.ID)
		}
		return names
	}
	require.Equal(t, ids[:2], names())
	reports, err := b.Audit(t.Context(), relay.AuditOptions{Queue: &queue})
	require.NoError(t, err)
	require.Len(t, reports[0].Findings, 2, "two letters are missing, for now")
	require.NoError(t, b.Discard(t.Context(), ids[0]))
	require.Eventually(t, func() bool { return len(names()) == 2 }, 20*time.Second, 20*time.Millisecond)
	require.Equal(t, ids[1:3], names())
	require.NoError(t, b.Discard(t.Context(), ids[1]))
	require.Eventually(t, func() bool { return len(names()) == 2 }, 20*time.Second, 20*time.Millisecond)
	require.Equal(t, ids[2:], names())
	balanced(t, b)
}

// As long as there is no room for letters, the history of one of them is read to
// see whether there is, and not of all: whoever makes room waits behind that.
func TestFullDeadLettersCostLittle(t *testing.T) {
	b := open(t, stateDir(t), func(o *broker.Options) { o.DeadQuotaBytes, o.Durability = 10_000, broker.ModeOS })
	for n := range uint64(40) {
		m := message("host", "", strings.Repeat("x", 4000))
		accept(t, b, m)
		for _, state := range []relay.State{relay.Waiting, relay.Dead} {
			require.NoError(t, broker.Record(t.Context(), b, queue, relay.Event{Sequence: n + 1, ID: m.ID, State: state, Attempt: 1, Reason: relay.ReasonRejected}))
		}
	}
	require.NoError(t, broker.Settle(t.Context(), b, queue))
	reads, err := broker.EventReads(b, queue.Destination)
	require.NoError(t, err)
	const looks = 5
	for range looks {
		require.NoError(t, broker.Settle(t.Context(), b, queue))
	}
	require.Less(t, reads(), 3*looks+10, "one each time, and as often by itself")
}

// Stored letters are grouped by cause with bounded pages, each counted once, and
// visited once.
func TestStoredLettersAreGroupedByCause(t *testing.T) {
	const letters = 1200 // more than a page
	b := open(t, stateDir(t), func(o *broker.Options) { o.Durability = broker.ModeOS })
	details := []string{"Host %s not found", "Invalid Hostname, must be a String (%s)", "connection to 10.0.0.1:443 refused by %s"}
	for n := range letters {
		m := message(fmt.Sprintf("web%d.example.com", n), "", "x")
		accept(t, b, m)
		require.NoError(t, broker.Record(t.Context(), b, queue, relay.Event{Sequence: uint64(n + 1), ID: m.ID, State: relay.Dead, Attempt: 1,
			Status: 422, Reason: relay.ReasonRejected, Detail: fmt.Sprintf(details[n%len(details)], m.Lane)}))
	}
	report, err := b.Causes(t.Context(), relay.DeadLetterFilter{})
	require.NoError(t, err)
	require.EqualValues(t, letters, report.Letters)
	require.Zero(t, report.Other)
	require.Len(t, report.Causes, len(details), "%+v", report.Causes)
	for _, c := range report.Causes {
		require.EqualValues(t, letters/len(details), c.Count)
		l, err := b.DeadLetter(t.Context(), c.Example)
		require.NoError(t, err)
		require.Equal(t, []any{c.Route, c.Reason, c.Status, c.Text}, []any{l.Route, l.Reason, l.Status, relay.Normalize(l.Detail, l.Lane)})
		require.True(t, c.First.Before(c.Last) && l.DiedAt.Equal(c.Last))
	}
	report, err = b.Causes(t.Context(), relay.DeadLetterFilter{Limit: 1})
	require.NoError(t, err)
	require.EqualValues(t, letters-letters/len(details), report.Other)
	_, err = b.Causes(t.Context(), relay.DeadLetterFilter{Limit: relay.MaxCauses + 1})
	require.Equal(t, relay.CodeMalformed, relay.CodeOf(err))

	for limit, want := range map[int]int{0: letters, 1100: 1100} {
		visited := map[string]bool{}
		require.NoError(t, relay.EachDeadLetter(t.Context(), b, relay.DeadLetterFilter{Limit: limit}, func(l relay.DeadLetter) error {
			visited[l.ID] = true
			return nil
		}))
		require.Len(t, visited, want)
	}
}

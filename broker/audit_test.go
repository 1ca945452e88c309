package broker_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

// Each thing that an audit looks at is broken in a real store, and it is named
// with sequence and id; nothing else is.
func TestAnAuditNamesWhatBreaksTheLedger(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		do   func(s *spoiled)
		want func(s *spoiled) (relay.Receipt, uint64)
		says string
	}{
		"a pending message that is gone": {
			func(s *spoiled) { require.NoError(s, broker.DeleteMessage(s.Context(), s.b, queue, 4)) },
			func(s *spoiled) (relay.Receipt, uint64) { return relay.Receipt{}, 4 },
			"it is not settled, and the journal does not hold it any more"},
		"a head that was trimmed too far": {
			func(s *spoiled) { require.NoError(s, broker.TrimJournal(s.Context(), s.b, queue, 5)) },
			func(s *spoiled) (relay.Receipt, uint64) { return relay.Receipt{}, 4 },
			"sequences 4 to 4 were removed from the journal before all of them were settled"},
		"an event about another message": {
			func(s *spoiled) { s.record(relay.Event{Sequence: 4, ID: s.of[0].ID, State: relay.Delivered}) },
			func(s *spoiled) (relay.Receipt, uint64) { return s.of[3], 4 },
			"but of another message"},
		"an event about a message that never was": {
			func(s *spoiled) { s.record(relay.Event{Sequence: 9, ID: s.of[0].ID, State: relay.Delivered}) },
			func(s *spoiled) (relay.Receipt, uint64) { return s.of[0], 9 },
			"but only 5 messages were ever accepted"},
		"an event that cannot be read": {
			func(s *spoiled) { require.NoError(s, broker.WriteTo(s.Context(), s.b, queue, "events")) },
			func(s *spoiled) (relay.Receipt, uint64) { return relay.Receipt{}, 0 },
			"cannot be read"},
		"a dead letter that is gone": {
			func(s *spoiled) { require.NoError(s, broker.RemoveLetter(s.Context(), s.b, queue, s.of[1].ID)) },
			func(s *spoiled) (relay.Receipt, uint64) { return s.of[1], 2 },
			"it is dead, but its letter is missing"},
		"a dead letter of a message that is not dead": {
			func(s *spoiled) {
				require.NoError(s, broker.Bury(s.Context(), s.b, queue, relay.Event{Sequence: 1, ID: s.of[0].ID, State: relay.Dead}))
			},
			func(s *spoiled) (relay.Receipt, uint64) { return s.of[0], 1 },
			"a dead letter is kept of it, but it is not dead"},
		"the dead letter of another message": {
			func(s *spoiled) {
				require.NoError(s, broker.RemoveLetter(s.Context(), s.b, queue, s.of[1].ID))
				require.NoError(s, broker.ForgeLetter(s.Context(), s.b, queue, 2, 1))
			},
			func(s *spoiled) (relay.Receipt, uint64) { return s.of[0], 2 },
			"that of another message"},
		"a stored checkpoint that says otherwise": {
			func(s *spoiled) { require.NoError(s, broker.SpoilCheckpoint(s.Context(), s.b, queue)) },
			func(s *spoiled) (relay.Receipt, uint64) { return relay.Receipt{}, 0 },
			"the stored checkpoint is not what the events up to"},
		"a base whose totals are not those of its messages": {
			func(s *spoiled) { require.NoError(s, broker.SpoilBase(s.Context(), s.b, queue)) },
			func(s *spoiled) (relay.Receipt, uint64) { return relay.Receipt{}, 0 },
			"4 messages are settled by their totals, and 3 one by one"},
		"an account that shows otherwise": {
			func(s *spoiled) { broker.SpoilAccount(s.b, queue, 5) },
			func(s *spoiled) (relay.Receipt, uint64) { return relay.Receipt{}, 0 },
			"the account shows other than the events amount to"},
	} {
		t.Run(name, func(t *testing.T) {
			s := spoil(t)
			r := balanced(t, s.b)
			require.Equal(t, []uint64{5, 2, 2, 1}, []uint64{r.Accepted, r.Pending, r.Totals[relay.Delivered], r.Totals[relay.Dead]})
			require.Empty(t, r.Notes)
			c.do(s)
			r = audit(t, s.b, relay.AuditOptions{Queue: &queue})
			require.False(t, r.Balanced)
			receipt, sequence := c.want(s)
			named := false
			for _, f := range r.Findings {
				named = named || f.Sequence == sequence && f.ID == receipt.ID && strings.Contains(f.What, c.says)
			}
			require.True(t, named, "%+v", r.Findings)
		})
	}
}

// spoiled is a queue of which 1 and 3 are delivered, 2 is dead, 4 and 5 pending,
// with a checkpoint.
type spoiled struct {
	*testing.T
	b  *broker.Broker
	of []relay.Receipt
}

func spoil(t *testing.T) *spoiled {
	t.Helper()
	s := &spoiled{T: t, b: open(t, stateDir(t), nil)}
	for i := range 5 {
		s.of = append(s.of, accept(t, s.b, message("host", "", fmt.Sprint(i))))
	}
	s.record(relay.Event{Sequence: 1, ID: s.of[0].ID, State: relay.Delivered, Attempt: 1, Epoch: 1})
	s.record(relay.Event{Sequence: 2, ID: s.of[1].ID, State: relay.Dead, Attempt: 1, Epoch: 1, Reason: relay.ReasonRejected})
	s.record(relay.Event{Sequence: 3, ID: s.of[2].ID, State: relay.Delivered, Attempt: 1, Epoch: 1})
	require.NoError(t, broker.Checkpoint(t.Context(), s.b, queue))
	return s
}

func (s *spoiled) record(e relay.Event) {
	s.Helper()
	require.NoError(s, broker.Record(s.Context(), s.b, queue, e))
}

func audit(t *testing.T, b *broker.Broker, o relay.AuditOptions) relay.AuditReport {
	t.Helper()
	reports, err := b.Audit(t.Context(), o)
	require.NoError(t, err)
	require.Len(t, reports, 1)
	return reports[0]
}

// What was recorded twice is counted once and breaks nothing; that it was
// recorded with two outcomes is told.
func TestAnAuditTellsOfTwoOutcomes(t *testing.T) {
	s := spoil(t)
	s.record(relay.Event{Sequence: 1, ID: s.of[0].ID, State: relay.Delivered, Epoch: 2})
	s.record(relay.Event{Sequence: 3, ID: s.of[2].ID, State: relay.Dead, Epoch: 2, Reason: relay.ReasonRejected})
	r := balanced(t, s.b)
	require.EqualValues(t, 2, r.SettledTwice)
	require.Len(t, r.Notes, 1)
	require.Equal(t, []any{uint64(3), s.of[2].ID}, []any{r.Notes[0].Sequence, r.Notes[0].ID})
	require.Contains(t, r.Notes[0].What, "recorded as dead after it had been recorded as delivered")
}

// With a time, an audit goes on from what an earlier one has proved; it finds
// what was broken since, and not what had been broken in what it trusts.
func TestAnAuditSinceATime(t *testing.T) {
	s := spoil(t)
	since := time.Now()
	r := audit(t, s.b, relay.AuditOptions{Queue: &queue, Since: since})
	require.True(t, r.Balanced)
	require.Nil(t, r.Trusted, "nothing is proved yet: all of it was")
	require.EqualValues(t, []uint64{3, 5}, []uint64{r.EventsRead, r.MessagesRead})

	s.of = append(s.of, accept(t, s.b, message("host", "", "5")))
	s.record(relay.Event{Sequence: 5, ID: s.of[4].ID, State: relay.Dead, Epoch: 1, Reason: relay.ReasonRejected})
	r = audit(t, s.b, relay.AuditOptions{Queue: &queue, Since: since})
	require.Empty(t, r.Findings)
	require.True(t, since.Equal(*r.Trusted))
	require.EqualValues(t, []uint64{1, 3}, []uint64{r.EventsRead, r.MessagesRead}, "4 to 6: the others were settled before")
	require.Equal(t, []uint64{6, 2, 2, 2}, []uint64{r.Accepted, r.Pending, r.Totals[relay.Delivered], r.Totals[relay.Dead]}, "the equation is that of all")

	require.NoError(t, broker.RemoveLetter(t.Context(), s.b, queue, s.of[1].ID))
	require.True(t, audit(t, s.b, relay.AuditOptions{Queue: &queue, Since: since}).Balanced, "a letter from before is not looked for")
	require.NoError(t, broker.RemoveLetter(t.Context(), s.b, queue, s.of[4].ID))
	r = audit(t, s.b, relay.AuditOptions{Queue: &queue, Since: since})
	require.Len(t, r.Findings, 1)
	require.Equal(t, s.of[4].ID, r.Findings[0].ID)
	require.Len(t, audit(t, s.b, relay.AuditOptions{Queue: &queue}).Findings, 2, "without a time nothing is trusted")
	r = audit(t, s.b, relay.AuditOptions{Queue: &queue, Since: since.Add(-time.Hour)})
	require.Nil(t, r.Trusted, "the proof is younger than that")
	require.Len(t, r.Findings, 2)
}

// While messages come, are delivered, die and are trimmed, an audit finds
// nothing wrong.
func TestAnAuditBesideTraffic(t *testing.T) {
	b := open(t, stateDir(t), func(o *broker.Options) { o.JournalWindow = time.Millisecond })
	drain(t, b, newDestination(func(n int, m *relay.Message) relay.Result {
		if n%7 == 0 {
			return rejected(n, m)
		}
		return delivered(n, m)
	}), nil)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				if _, err := b.Accept(t.Context(), message(fmt.Sprint("host", i%50), "", fmt.Sprint(i))); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	for range 20 {
		balanced(t, b)
	}
	close(stop)
	<-done
	status(t, b, settled)
	balanced(t, b)
}

// A message whose bytes on the disk have changed: the broker still counts it,
// but it cannot be read, so it cannot be delivered.
func TestAnAuditNamesAMessageThatCannotBeRead(t *testing.T) {
	dir := stateDir(t)
	b := open(t, dir, nil)
	for i := range 5 {
		accept(t, b, message("host", "", fmt.Sprint("the body of ", i, ".")))
	}
	b.Close()
	blocks, err := filepath.Glob(filepath.Join(dir, "jetstream", "jetstream", "*", "streams", broker.JournalStream(queue), "msgs", "*.blk"))
	require.NoError(t, err)
	require.Len(t, blocks, 1)
	data, err := os.ReadFile(blocks[0])
	require.NoError(t, err)
	at := bytes.Index(data, []byte("the body of 3."))
	require.Positive(t, at)
	data[at] ^= 1
	require.NoError(t, os.WriteFile(blocks[0], data, 0o600))

	b = open(t, dir, nil)
	r := audit(t, b, relay.AuditOptions{Queue: &queue})
	require.Contains(t, r.Findings, relay.AuditFinding{Sequence: 4, What: "it is not settled, and the journal does not hold it any more"})
}

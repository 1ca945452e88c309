package relay

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The ledger against a plain model: whatever events come, in whatever order and
// however often, the totals count each message once, the floor is where the
// model's is, and a checkpoint in between changes nothing.
func TestLedgerAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, model, waits := NewLedger(), map[uint64]State{}, map[uint64]int{}
		n := rapid.IntRange(1, 40).Draw(t, "events")
		for event := 1; event <= n; event++ {
			e := Event{Sequence: rapid.Uint64Range(1, 12).Draw(t, "sequence"), Attempt: rapid.IntRange(1, 4).Draw(t, "attempt"),
				State: rapid.SampledFrom([]State{Waiting, Delivered, Dead, Superseded, Cancelled, Discarded, Duplicate}).Draw(t, "state")}
			before, settled := model[e.Sequence]
			changed := l.Apply(e, uint64(event))
			switch {
			case e.State == Waiting && !settled && e.Attempt >= waits[e.Sequence]:
				waits[e.Sequence] = e.Attempt
			case e.State != Waiting && (!settled || (before == Dead && (e.State == Superseded || e.State == Discarded))):
				model[e.Sequence] = e.State
				delete(waits, e.Sequence)
			default:
				if changed {
					t.Fatalf("%+v changed the account, the model not", e)
				}
			}
			if l.Apply(e, uint64(event)) {
				t.Fatal("the same stored event was counted twice")
			}
			if rapid.Bool().Draw(t, "checkpoint") {
				text, err := l.Checkpoint()
				require.NoError(t, err)
				l, err = ReadCheckpoint(text)
				require.NoError(t, err)
			}
		}
		compare(t, l, model, waits)
	})
}

func compare(t *rapid.T, l *Ledger, model map[uint64]State, waits map[uint64]int) {
	want, floor, dead := Totals{}, uint64(0), []uint64{}
	for s, state := range model {
		want[state]++
		require.True(t, l.Settled(s))
		require.Equal(t, state == Dead, l.DeadLetter(s))
	}
	for s := uint64(1); s <= 12; s++ {
		if model[s] == Dead {
			dead = append(dead, s)
		}
		state, ok := model[s]
		if !ok {
			require.False(t, l.Settled(s))
			state = Queued
			if _, waiting := waits[s]; waiting {
				state = Waiting
			}
		}
		require.Equal(t, state, l.State(s), "sequence %d", s)
	}
	for _, ok := model[floor+1]; ok; _, ok = model[floor+1] {
		floor++
	}
	for _, s := range []State{Waiting, Dead, Superseded, Cancelled, Discarded, Duplicate} {
		sequences, ok := l.Sequences(s)
		require.True(t, ok)
		require.IsIncreasing(t, append([]uint64{0}, append(sequences, 13)...))
		for _, sequence := range sequences {
			require.Equal(t, s, l.State(sequence))
		}
		if s != Waiting {
			require.Len(t, sequences, int(want[s]))
		}
	}
	got := l.Totals()
	for _, s := range settledStates {
		require.Equal(t, want[s], got[s], s)
	}
	require.Equal(t, floor, l.Floor())
	require.Equal(t, uint64(len(model))-floor, l.SettledAbove())
	require.ElementsMatch(t, dead, l.DeadLetters())
	require.Equal(t, len(waits), l.WaitingCount())
	for s, attempts := range waits {
		w, ok := l.Waiting(s)
		require.True(t, ok)
		require.Equal(t, attempts, w.Attempts)
	}
	require.Equal(t, uint64(12)-uint64(len(model)), l.Counts(12).Pending)
}

// What is forgotten is what the journal no longer holds; the account is the same.
func TestForget(t *testing.T) {
	l := NewLedger()
	for i, state := range []State{Superseded, Dead, Duplicate, Waiting, Discarded} {
		l.Apply(Event{Sequence: uint64(i + 1), State: state}, uint64(i+1))
	}
	totals := l.Totals()
	l.Forget(3)
	require.Equal(t, []State{Delivered, Dead, Duplicate, Waiting, Discarded}, []State{l.State(1), l.State(2), l.State(3), l.State(4), l.State(5)})
	require.Equal(t, totals, l.Totals())
	require.EqualValues(t, 3, l.Floor())
}

func TestEventRoundTrip(t *testing.T) {
	e := Event{Sequence: 7, ID: "id", State: Waiting, Attempt: 3, Status: 500, Reason: ReasonServerError, Detail: "ä", Next: time.UnixMilli(1e12).UTC(), Epoch: 4, Keyed: true, Link: "l",
		Failures: 2, Slow: 1, Pause: true}
	text, err := e.Encode()
	require.NoError(t, err)
	got, err := DecodeEvent(text)
	require.NoError(t, err)
	require.Equal(t, e, got)
	for _, bad := range []string{"", "{}", `{"s":1,"o":"queued"}`, `{"s":0,"o":"dead"}`, `{"s":1,"o":"new"}`} {
		_, err := DecodeEvent([]byte(bad))
		require.Error(t, err, bad)
	}
	_, err = ReadCheckpoint([]byte(`{"version":2}`))
	require.ErrorContains(t, err, "version 2")
}

// What a waiting message needs for its next attempt is in the event and in the
// checkpoint; what was written before the attempts were told apart is read as
// all of them having counted.
func TestAWaitSurvives(t *testing.T) {
	l, next := NewLedger(), time.UnixMilli(1e12).UTC()
	l.Apply(Event{Sequence: 1, State: Waiting, Attempt: 4, Next: next, Reason: ReasonNotReady, Failures: 1, Slow: 3}, 1)
	l.Apply(Event{Sequence: 2, State: Waiting, Attempt: 4, Next: next, Reason: ReasonServerError}, 2)
	l.Apply(Event{Sequence: 3, State: Waiting, Attempt: 4, Next: next, Reason: ReasonRejected, Pause: true}, 3)
	text, err := l.Checkpoint()
	require.NoError(t, err)
	again, err := ReadCheckpoint(text)
	require.NoError(t, err)
	before := strings.NewReplacer(`,"f":1,"w":3`, ``, `"a":4,"n":"2001-09-09T01:46:40Z","r":"rejected","p":true`, `"a":0,"n":"2001-09-09T01:46:40Z"`).Replace(string(text))
	require.NotEqual(t, string(text), before)
	old, err := ReadCheckpoint([]byte(before))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		ledger   *Ledger
		sequence uint64
		want     Wait
	}{
		"event":            {l, 1, Wait{Attempts: 4, Next: next, Reason: ReasonNotReady, Failures: 1, Slow: 3}},
		"old event":        {l, 2, Wait{Attempts: 4, Next: next, Reason: ReasonServerError, Failures: 4}},
		"checkpoint":       {again, 1, Wait{Attempts: 4, Next: next, Reason: ReasonNotReady, Failures: 1, Slow: 3}},
		"poison":           {again, 3, Wait{Attempts: 4, Next: next, Reason: ReasonRejected, Pause: true}},
		"old checkpoint":   {old, 1, Wait{Attempts: 4, Next: next, Reason: ReasonNotReady, Failures: 4}},
		"old, not counted": {old, 3, Wait{Next: next}},
	} {
		got, ok := c.ledger.Waiting(c.sequence)
		require.True(t, ok, name)
		require.Equal(t, c.want, got, name)
	}
}

// What is tried from the beginning after a pause stays so when the next attempt
// runs into an outage.
func TestAnOutageAfterAPauseCountsNothing(t *testing.T) {
	l := NewLedger()
	l.Apply(Event{Sequence: 1, State: Waiting, Attempt: 4, Reason: ReasonMaxAttempts, Pause: true}, 1)
	l.Apply(Event{Sequence: 1, State: Waiting, Attempt: 4, Reason: ReasonTimeout, Ambiguous: true}, 2)
	value, err := l.Checkpoint()
	require.NoError(t, err)
	again, err := ReadCheckpoint(value)
	require.NoError(t, err)
	for _, l := range []*Ledger{l, again} {
		w, ok := l.Waiting(1)
		require.True(t, ok)
		require.Equal(t, []any{4, 0, false}, []any{w.Attempts, w.Failures, w.Pause})
	}
}

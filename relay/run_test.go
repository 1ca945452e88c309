package relay

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Sequence 3 was lost by a power cut and is another message's in run 2: what a
// drain says of it that knew run 1 is not counted, and all else is.
func TestAnEventAboutALostMessageIsRefused(t *testing.T) {
	l, n := NewLedger(), uint64(0)
	apply := func(e Event) bool {
		n++
		return l.Apply(e, n)
	}
	require.True(t, apply(Event{State: Started, Run: 1}))
	require.True(t, apply(Event{State: Delivered, Sequence: 1, Run: 1}))
	require.True(t, apply(Event{State: Started, Run: 2, Sequence: 2}))
	require.False(t, apply(Event{State: Delivered, Sequence: 3, Run: 1}))
	require.False(t, apply(Event{State: Waiting, Sequence: 3, Run: 1, Attempt: 7}))
	require.Equal(t, Queued, l.State(3))
	require.True(t, apply(Event{State: Delivered, Sequence: 2, Run: 1}), "late, and true")

	text, err := l.Checkpoint()
	require.NoError(t, err)
	l, err = ReadCheckpoint(text)
	require.NoError(t, err)
	require.False(t, apply(Event{State: Dead, Sequence: 3, Run: 1}), "a checkpoint remembers it")
	require.True(t, apply(Event{State: Delivered, Sequence: 3, Run: 2}))
	require.True(t, apply(Event{State: Discarded, Sequence: 4}), "the edge itself, and records without a run")
}

// Against a plain model: of each sequence it is known in which run it was given
// last, and an event counts if its writer knew that run or a later one. What an
// account forgets of its runs are cases that can change nothing.
func TestRunsAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, n := NewLedger(), uint64(0)
		given := map[uint64]uint64{}
		last, run := uint64(0), uint64(0)
		settled := map[uint64]bool{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			n++
			switch rapid.SampledFrom([]string{"start", "accept", "event"}).Draw(t, "step") {
			case "start":
				run++
				lost := uint64(0)
				for last > lost && !settled[last-lost] && rapid.Bool().Draw(t, "lost") {
					lost++
				}
				last -= lost
				l.Apply(Event{State: Started, Run: run, Sequence: last}, n)
			case "accept":
				if run > 0 {
					last++
					given[last] = run
				}
			case "event":
				if run == 0 {
					continue
				}
				e := Event{State: Delivered, Sequence: rapid.Uint64Range(1, last+2).Draw(t, "sequence"), Run: rapid.Uint64Range(1, run).Draw(t, "run")}
				if e.Sequence > last && e.Run == run {
					continue // nobody knows a message that is not there
				}
				want := e.Sequence <= last && e.Run >= given[e.Sequence] && !settled[e.Sequence]
				require.Equal(t, want, l.Apply(e, n), "%+v, given %v, last %d", e, given, last)
				settled[e.Sequence] = settled[e.Sequence] || want
			}
		}
	})
}

// A drain that finds a dead message gone from the journal gives up nothing of an
// operator's: only the edge moves letters.
func TestADrainMovesNoDeadLetter(t *testing.T) {
	l := NewLedger()
	require.True(t, l.Apply(Event{State: Dead, Sequence: 1, Epoch: 1}, 1))
	require.False(t, l.Apply(Event{State: Discarded, Sequence: 1, Epoch: 2, Reason: ReasonMissing}, 2))
	require.True(t, l.Apply(Event{State: Discarded, Sequence: 1, Reason: ReasonOperator}, 3))
}

// A number that is not above the last one: the counter was lost, and refusing
// what the drains of now write would have messages delivered for ever.
func TestACounterOfRunsThatWasLost(t *testing.T) {
	l := NewLedger()
	l.Apply(Event{State: Started, Run: 9, Sequence: 5}, 1)
	l.Apply(Event{State: Started, Run: 1, Sequence: 7}, 2)
	require.True(t, l.Apply(Event{State: Delivered, Sequence: 8, Run: 1}, 3))
}

func TestRunsAreBounded(t *testing.T) {
	var r runs
	for i := range uint64(3 * maxRuns) {
		r = r.begin(runStart{Run: i + 1, Last: i}, 0)
	}
	require.Len(t, r, maxRuns)
	require.True(t, r.refuses(Event{Run: 3*maxRuns - 1, Sequence: 3 * maxRuns}), "the newest stay")
	require.Len(t, r.begin(runStart{Run: 5 * maxRuns, Last: 4 * maxRuns}, 4*maxRuns), 1, "what is settled needs none")
	r = nil
	for i := range uint64(10) { // starts without a message between them
		r = r.begin(runStart{Run: i + 1, Last: 4}, 0)
	}
	require.Len(t, r, 1)
}

func TestAccountsThatDiffer(t *testing.T) {
	account := func(events ...Event) *Ledger {
		l := NewLedger()
		for i, e := range events {
			l.Apply(e, uint64(i+1))
		}
		return l
	}
	a := account(Event{Sequence: 1, State: Delivered}, Event{Sequence: 3, State: Dead})
	require.Empty(t, a.Differs(account(Event{Sequence: 3, State: Dead}, Event{Sequence: 1, State: Delivered})))
	for want, other := range map[string]*Ledger{
		"1 delivered, not 0":                    account(Event{Sequence: 3, State: Dead}),
		"everything up to 1 settled, not up to": account(Event{Sequence: 2, State: Delivered}, Event{Sequence: 3, State: Dead}),
		"whether 3 is settled":                  account(Event{Sequence: 1, State: Delivered}, Event{Sequence: 4, State: Dead}),
		"whether 3 is dead":                     account(Event{Sequence: 1, State: Delivered}, Event{Sequence: 3, State: Delivered}, Event{Sequence: 4, State: Dead}),
	} {
		if want == "whether 3 is dead" { // the same but for which one is dead
			a = account(Event{Sequence: 1, State: Delivered}, Event{Sequence: 3, State: Dead}, Event{Sequence: 4, State: Delivered})
		} else {
			a = account(Event{Sequence: 1, State: Delivered}, Event{Sequence: 3, State: Dead})
		}
		require.Contains(t, a.Differs(other), want)
	}
}

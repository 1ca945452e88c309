package broker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAgendaTellsOfEachUrgentMessageOnce(t *testing.T) {
	a := newAgenda()
	for _, sequence := range []uint64{10, 12, 11, 10, 20} { // noted in any order, and perhaps twice
		a.note(sequence, true, time.Time{})
	}
	sequences, through := a.tell(0, 0, 2)
	require.Equal(t, []uint64{10, 12}, sequences)
	sequences, through = a.tell(through, 0, 10)
	require.Equal(t, []uint64{11, 20}, sequences, "the one noted late too")
	again, through := a.tell(through, 0, 10)
	require.Empty(t, again)
	a.note(30, true, time.Time{})
	sequences, _ = a.tell(through, 0, 10)
	require.Equal(t, []uint64{30}, sequences)

	a.settled(12)
	sequences, through = a.tell(0, 10, 10)
	require.Equal(t, []uint64{11, 20, 30}, sequences, "without what was read or settled")
	require.EqualValues(t, 5, through)
	none, through := a.tell(0, 10, 0)
	require.Empty(t, none)
	require.EqualValues(t, 2, through, "where there is no room the others are told later")
}

// A message that stays does not keep the memory of those that go.
func TestAgendaForgetsWhatIsSettled(t *testing.T) {
	a := newAgenda()
	a.note(1, true, time.Time{})
	for sequence := uint64(2); sequence < 10_000; sequence++ {
		a.note(sequence, true, time.Time{})
		a.settled(sequence)
	}
	require.LessOrEqual(t, len(a.arrivals), 100)
	sequences, through := a.tell(0, 0, 10)
	require.Equal(t, []uint64{1}, sequences)
	a.note(10_000, true, time.Time{})
	sequences, _ = a.tell(through, 0, 10)
	require.Equal(t, []uint64{10_000}, sequences, "numbers go on")
}

func TestAgendaCountsWhatIsNotDue(t *testing.T) {
	now := time.Unix(1e9, 0)
	a := newAgenda()
	for i := range uint64(5) {
		a.note(i+1, false, now.Add(time.Duration(i)*time.Minute))
	}
	require.Equal(t, []uint64{2, 3, 4, 5}, a.notDue(now).ToArray())
	a.settled(3)
	require.Equal(t, []uint64{4, 5}, a.notDue(now.Add(time.Minute)).ToArray())
	require.Empty(t, a.notDue(now.Add(time.Hour)).ToArray())
	require.Empty(t, a.due)
}

package broker

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
)

// The server is not started more than once a second, whether that helps or not,
// and ever more seldom while it does not.
func TestStartsOfTheStoreKeepADistance(t *testing.T) {
	now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	c := &cure{pause: curePause}
	for range 3 { // no reserve is kept: each helps for a moment
		c.tried(now, true)
		require.Equal(t, now.Add(curePause), c.next)
		now = c.next
	}
	for want := curePause; want < curePauseMost; want *= 2 {
		c.tried(now, false)
		require.Equal(t, now.Add(want), c.next)
	}
	c.tried(now, false)
	require.Equal(t, now.Add(curePauseMost), c.next)
	c.tried(now, true)
	require.Equal(t, now.Add(curePause), c.next)
}

// What the housekeeper is asked for ends when the store stops writing: everybody
// else would wait behind it.
func TestTheHousekeeperGivesUpASickStore(t *testing.T) {
	b := &Broker{health: newHealth(zerolog.Nop())}
	begun := make(chan struct{})
	h, done := newHousekeeper(b), make(chan error, 1)
	go func() {
		done <- h.serve(t.Context(), houseRequest{do: func(ctx context.Context) error {
			close(begun)
			<-ctx.Done()
			return ctx.Err()
		}})
	}()
	<-begun
	b.health.fall(ailsFull, errors.New("no space left on device"))
	require.ErrorIs(t, <-done, context.Canceled)
}

// An audit looks at so many messages one by one, and no more: the newest.
func TestPrintsAreBounded(t *testing.T) {
	p := newPrints(1, 10, 4)
	require.Equal(t, []any{uint64(7), 4}, []any{p.from, len(p.of)})
	for sequence := uint64(1); sequence <= 11; sequence++ { // what is outside is let go
		p.set(sequence, printOf("id"))
	}
	require.False(t, p.differs(6, "other"))
	require.False(t, p.differs(7, "id"))
	require.True(t, p.differs(7, "other"))
	require.False(t, p.differs(7, ""), "of an event that knows no id nothing can be said")
	require.False(t, p.differs(11, "other"))
	p.set(8, printVoid)
	require.False(t, p.differs(8, "other"), "the message was lost, and its place filled")
	p.set(9, printAbsent)
	absent := []uint64{}
	p.absent(func(s uint64) { absent = append(absent, s) })
	require.Equal(t, []uint64{9}, absent)
	require.Empty(t, newPrints(5, 4, 4).of)
}

func TestThePrintOfASubjectIsThatOfItsId(t *testing.T) {
	require.Equal(t, printOf("queue-own"), printOfSubject("relay.queue.own.lane.message"))
	require.EqualValues(t, printVoid, printOfSubject("relay.queue.own.lane."+voidRoute))
	require.NotEqual(t, printOf("queue-own"), printOfSubject("relay.queue.own"))
}

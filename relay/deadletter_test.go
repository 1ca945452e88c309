package relay_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// pages is an operator with so many letters; an old one knows no places.
type pages struct {
	relay.Operator
	letters int
	old     bool
}

func (p pages) DeadLetters(_ context.Context, f relay.DeadLetterFilter) (page []relay.DeadLetter, err error) {
	for n := f.After + 1; n <= uint64(p.letters) && len(page) < f.Limit; n++ {
		l := relay.DeadLetter{ID: fmt.Sprint(n), Place: n}
		if p.old {
			l.Place = 0
		}
		page = append(page, l)
	}
	return page, f.Check()
}

func TestEachDeadLetterIsVisitedOnce(t *testing.T) {
	q := relay.Queue{Organization: "A", Destination: "foreman"}
	for _, c := range []struct{ letters, limit, want int }{{0, 0, 0}, {999, 0, 999}, {1000, 0, 1000}, {2500, 0, 2500}, {2500, 1000, 1000}, {2500, 1001, 1001}, {3, 9, 3}} {
		seen := map[string]bool{}
		err := relay.EachDeadLetter(t.Context(), pages{letters: c.letters}, relay.DeadLetterFilter{Queue: &q, Limit: c.limit}, func(l relay.DeadLetter) error {
			require.False(t, seen[l.ID])
			seen[l.ID] = true
			return nil
		})
		require.NoError(t, err)
		require.Len(t, seen, c.want, "%+v", c)
	}
	err := relay.EachDeadLetter(t.Context(), pages{letters: 2500, old: true}, relay.DeadLetterFilter{Queue: &q}, func(relay.DeadLetter) error { return nil })
	require.ErrorContains(t, err, "is the relay older than this program?", "and not for ever")
}

// An imported letter is in the journal and is not delivered: nothing older may be
// given up for it.
func TestALetterReplacesNothing(t *testing.T) {
	require.True(t, (&relay.Message{Lane: "host"}).Replaces())
	require.False(t, (&relay.Message{Lane: "host", Buried: relay.ReasonRejected}).Replaces())
}

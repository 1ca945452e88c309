package relay

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The bound, of any ten seconds: so many percent of the first attempts, and ten
// times the floor.
func TestTheBudgetOfRetries(t *testing.T) {
	b, now := NewBudget(BudgetOptions{Percent: 20, Floor: 1}), time.Unix(1e9, 0)
	withdraw := func() (n int) {
		for b.Withdraw(now) {
			n++
		}
		return n
	}
	require.Equal(t, 10, withdraw(), "the floor")
	for range 99 {
		b.Deposit(now)
	}
	require.Equal(t, 19, withdraw(), "a fifth")
	require.True(t, b.Spent(now))
	now = now.Add(9 * time.Second)
	require.Zero(t, withdraw(), "within ten seconds")
	require.Equal(t, now.Add(time.Second), b.again(now.Add(300*time.Millisecond)))
	now = now.Add(time.Second)
	require.False(t, b.Spent(now))
	require.Equal(t, 10, withdraw(), "never less than the floor")

	now = now.Add(3 * time.Second)
	b.Refund(now)
	require.Equal(t, 1, withdraw(), "what went well costs nothing")
	for range 100 {
		b.Refund(now)
	}
	require.Equal(t, 10, withdraw(), "and earns nothing")

	var none *Budget
	none.Deposit(now)
	none.Refund(now)
	require.True(t, none.Withdraw(now))
	require.False(t, none.Spent(now))
}

// slowDestination is attempted without a pause, ten milliseconds each, for so
// long; answer is what it says of a message.
func slowDestination(x *index, now *time.Time, length time.Duration, answer func(Entry) Class) (firsts, retries int) {
	for end := now.Add(length); now.Before(end); *now = now.Add(10 * time.Millisecond) {
		x.wakeDue(*now)
		e, ok := x.next()
		if !ok {
			continue
		}
		if e.Attempts == 0 {
			firsts++
			x.budget.Deposit(*now)
		} else {
			retries++
		}
		class := answer(e)
		if e.Attempts > 0 && class.healthy() {
			x.budget.Refund(*now)
		}
		if class == ClassDelivered {
			x.settle(e)
			continue
		}
		e.Attempts++
		e.Next = now.Add(100 * time.Millisecond)
		x.postpone(e)
	}
	return firsts, retries
}

// filled is an index of so many messages, each in a lane of its own.
func filled(n int, b *Budget, now time.Time) *index {
	x := indexOf(DefaultIndexLimits())
	x.budget = b
	arrive(x, n, now)
	return x
}

func arrive(x *index, n int, now time.Time) {
	for range n {
		next := x.position() + 1
		x.add([]Entry{{Sequence: next, Lane: fmt.Sprint(next), Accepted: now}})
	}
}

// half of what is attempted fails.
func half() func(Entry) Class {
	chance := rand.New(rand.NewPCG(1, 2))
	return func(Entry) Class {
		if chance.IntN(2) == 0 {
			return ClassTransient
		}
		return ClassDelivered
	}
}

// While new messages wait, a destination that fails is not hit with the retries
// of what it failed as well: one attempt of six is a retry, not less either.
func TestRetriesAreAShareOfTheTraffic(t *testing.T) {
	for name, answer := range map[string]func(Entry) Class{
		"all of them fail":  func(Entry) Class { return ClassTransient },
		"half of them fail": half(),
		"some wait for a build": func(e Entry) Class {
			if e.Sequence%2 == 0 {
				return ClassNotReady
			}
			return ClassDelivered
		},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Unix(1e9, 0)
			x := filled(10_000, NewBudget(DefaultBudgetOptions()), now)
			firsts, retries := slowDestination(x, &now, time.Minute, answer)
			require.Equal(t, 6000, firsts+retries, "the destination was always asked something")
			require.InDelta(t, firsts/retryTurn, retries, 100)
		})
	}
}

// When no new message waits, there would be room for retries; those that fail are
// a share of the traffic still.
func TestFailedRetriesAreAShareOfTheTraffic(t *testing.T) {
	now := time.Unix(1e9, 0)
	x, answer := filled(0, NewBudget(BudgetOptions{Percent: 20, Floor: 1}), now), half()
	firsts, retries, held := 0, 0, 0
	for range 60 * 20 { // twenty a second, where a hundred would be served
		arrive(x, 1, now)
		f, r := slowDestination(x, &now, 50*time.Millisecond, answer)
		firsts, retries, held = firsts+f, retries+r, max(held, x.held(now))
	}
	require.GreaterOrEqual(t, firsts, 1100)
	require.Less(t, retries, firsts*6/10, "without a budget there are as many as first attempts")
	require.Positive(t, held)
}

// After a fault a backlog of retries is not slowed down: each one goes well.
func TestABacklogOfRetriesIsNotHeld(t *testing.T) {
	now, b := time.Unix(1e9, 0), NewBudget(DefaultBudgetOptions())
	x := filled(1000, nil, now)
	slowDestination(x, &now, 15*time.Second, func(Entry) Class { return ClassTransient })
	x.budget = b
	now = now.Add(time.Minute)
	_, retries := slowDestination(x, &now, 11*time.Second, func(Entry) Class { return ClassDelivered })
	require.Equal(t, 1000, retries)
	require.Zero(t, x.entries)
	require.Zero(t, x.held(now))
}

// A lone message on a quiet system is retried when it is due.
func TestTheBudgetDoesNotMatterForALoneMessage(t *testing.T) {
	now, b := time.Unix(1e9, 0), NewBudget(DefaultBudgetOptions())
	x := filled(1, b, now)
	p, a := DefaultPolicy(), Attempt{Accepted: now}
	for {
		x.wakeDue(now)
		e, ok := x.next()
		require.True(t, ok, "held at %v", now)
		if e.Attempts == 0 {
			b.Deposit(now)
		}
		o := Decide(p, a, Result{Class: ClassTransient}, now, 0.9)
		if o.State == Dead {
			break
		}
		e.Attempts++
		e.Next, now, a.Failures = o.Next, o.Next, o.Failures
		x.postpone(e)
	}
}

// Retries that fail for ever all have their turn: none is starved by the others
// or by new messages.
func TestNoRetryStarves(t *testing.T) {
	now, b := time.Unix(1e9, 0), NewBudget(BudgetOptions{Percent: 0, Floor: 1})
	x, tried := filled(30, b, now), map[uint64]int{}
	slowDestination(x, &now, 3*time.Minute, func(e Entry) Class {
		tried[e.Sequence]++
		return ClassTransient
	})
	require.Len(t, tried, 30)
	for sequence, n := range tried {
		require.GreaterOrEqual(t, n, 5, sequence)
	}
}

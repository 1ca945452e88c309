package relay

import (
	"sync"
	"time"
)

// budgetWindow is how far back a budget looks, in seconds.
const budgetWindow = 10

// BudgetOptions bound the retries of a destination, over all of its queues.
type BudgetOptions struct {
	Percent int // of the first attempts
	Floor   int // a second, in any case: above zero, or retries could starve
}

// DefaultBudgetOptions: a fifth of the traffic, as other clients with such a
// budget have it. The floor is that of a small Foreman, which imports a few
// reports a second.
func DefaultBudgetOptions() BudgetOptions { return BudgetOptions{Percent: 20, Floor: 1} }

// Budget keeps retries from doubling the traffic to a destination that fails:
// of any ten seconds, those that failed are at most so many percent of the first
// attempts, and ten times the floor. A retry that goes well costs nothing: it is
// work that was to be done anyway, and a backlog of retries after a fault must
// not take hours. What the budget has nothing for waits, in the order in which
// it was due.
//
// A nil budget allows everything. Safe for concurrent use.
type Budget struct {
	options BudgetOptions

	mu      sync.Mutex
	seconds [budgetWindow]budgetSecond
}

// budgetSecond is what was attempted within one second.
type budgetSecond struct {
	unix            int64
	firsts, retries int
}

// NewBudget makes a budget that nothing was taken from.
func NewBudget(o BudgetOptions) *Budget { return &Budget{options: o} }

// Deposit notes a first attempt.
func (b *Budget) Deposit(now time.Time) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.second(now).firsts++
}

// Withdraw takes a retry from the budget; false: it has to wait.
func (b *Budget) Withdraw(now time.Time) bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.spent(now) {
		return false
	}
	b.second(now).retries++
	return true
}

// Refund gives back a retry that went well.
func (b *Budget) Refund(now time.Time) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range int64(budgetWindow) {
		s := &b.seconds[(now.Unix()-i)%budgetWindow]
		if s.unix == now.Unix()-i && s.retries > 0 {
			s.retries--
			return
		}
	}
}

// Spent says whether a retry would have to wait.
func (b *Budget) Spent(now time.Time) bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.spent(now)
}

func (b *Budget) spent(now time.Time) bool {
	firsts, retries := 0, 0
	for _, s := range b.seconds {
		if age := now.Unix() - s.unix; age >= 0 && age < budgetWindow {
			firsts, retries = firsts+s.firsts, retries+s.retries
		}
	}
	return retries >= budgetWindow*b.options.Floor+firsts*b.options.Percent/100
}

// second is the account of the present one.
func (b *Budget) second(now time.Time) *budgetSecond {
	s := &b.seconds[now.Unix()%budgetWindow]
	if s.unix != now.Unix() {
		*s = budgetSecond{unix: now.Unix()}
	}
	return s
}

// again is when a budget that is spent may have something: with the next second.
func (b *Budget) again(now time.Time) time.Time { return now.Truncate(time.Second).Add(time.Second) }

// healthy answers are those of a destination that does its work, whatever it
// says of the message.
func (c Class) healthy() bool {
	switch c {
	case ClassDelivered, ClassAlready, ClassRejected, ClassNotReady:
		return true
	case ClassTransient, ClassDenied, ClassUnavailable, ClassOutage:
	}
	return false
}

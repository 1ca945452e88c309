package relay

import "time"

// retryTurn is how many first attempts come between two retries while both wait:
// retries are a fifth of them then, and get so much however many there are.
const retryTurn = 5

// wakeDue puts a lane that is due for a retry before those that are ready, when
// it is its turn. It returns whether any lane is ready, and else when the next
// one will be (zero: unknown).
func (x *index) wakeDue(now time.Time) (bool, time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.again) == 0 && (len(x.ready) == 0 || x.sinceRetry >= retryTurn) {
		if l := x.nextDue(now); l != nil {
			x.again, l.listed, x.sinceRetry = append(x.again, l), true, 0
		}
	}
	if len(x.ready)+len(x.again) > 0 {
		return true, time.Time{}
	}
	return false, x.dueAt(now)
}

// takeAgain takes the lane whose turn it is for a retry; nil: there is none.
func (x *index) takeAgain() *lane {
	if len(x.again) == 0 {
		x.sinceRetry++
		return nil
	}
	l := x.again[0]
	x.again, l.listed = x.again[:0], false
	return l
}

// nextDue takes the lane whose head has been due for longest, parked or not, if
// the budget has a retry for it.
func (x *index) nextDue(now time.Time) *lane {
	fromIndex := len(x.due) > 0 && !x.due[0].next.After(now)
	fromParked := x.parkedDue(now) && (!fromIndex || x.parked.due[0].next < x.due[0].next.UnixNano())
	switch {
	case !fromIndex && !fromParked, !x.budget.Withdraw(now):
		return nil
	case fromParked:
		return x.unpark(x.parked.due[0])
	default:
		return x.due.popDue(now)
	}
}

// dueAt is when the next lane may be woken; zero: nobody knows.
func (x *index) dueAt(now time.Time) time.Time {
	at := time.Time{}
	if len(x.due) > 0 {
		at = x.due[0].next
	}
	if p := x.parked.due; len(p) > 0 && x.roomForParked() && (at.IsZero() || p[0].next < at.UnixNano()) {
		at = time.Unix(0, p[0].next)
	}
	if !at.IsZero() && !at.After(now) { // it is due, and the budget has nothing
		return x.budget.again(now)
	}
	return at
}

// held counts the lanes that are due and that the budget has nothing for.
func (x *index) held(now time.Time) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.budget.Spent(now) {
		return 0
	}
	return overdue(len(x.due), 0, func(i int) bool { return !x.due[i].next.After(now) }) +
		overdue(len(x.parked.due), 0, func(i int) bool { return x.parked.due[i].next <= now.UnixNano() })
}

// overdue counts what is due in a heap of n, from place i down.
func overdue(n, i int, due func(int) bool) int {
	if i >= n || !due(i) {
		return 0
	}
	return 1 + overdue(n, 2*i+1, due) + overdue(n, 2*i+2, due)
}

// repaid has the dispatcher look again: the budget was given something back.
func (x *index) repaid() { signal(x.readyC) }

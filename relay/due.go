package relay

import "time"

// retryTurn is how many first attempts of a class come between two retries while
// both wait: retries are a fifth of them then, and get so much however many there
// are.
const retryTurn = 5

// wake puts a lane that is due for a retry before those that are ready, when it is
// its turn. What was kept back is ready when its time has come.
func (x *index) wake(c *class, now time.Time) {
	for l := c.kept.popDue(now.UnixNano()); l != nil; l = c.kept.popDue(now.UnixNano()) {
		c.ready.pushBack(l)
	}
	if c.ready.first != nil && c.sinceRetry < retryTurn {
		return
	}
	if l := x.nextDue(c, now); l != nil {
		c.ready.pushFront(l)
		c.sinceRetry = -1 // it is counted itself when it is taken
	}
}

// nextDue takes the lane whose head has been due for longest, parked or not, if
// the budget has a retry for it.
func (x *index) nextDue(c *class, now time.Time) *lane {
	fromIndex := len(c.due) > 0 && c.due[0].next <= now.UnixNano()
	fromParked := c.parkedDue(now) && (!fromIndex || c.parked.due[0].next < c.due[0].next)
	switch {
	case !fromIndex && !fromParked, !x.budget.Withdraw(now):
		return nil
	case fromParked:
		return x.unpark(c, c.parked.due[0])
	default:
		return c.due.popDue(now.UnixNano())
	}
}

// dueAt is when anything of the class is due next; 0: nothing is known. What is
// scheduled or parked counts only while there is room for it.
func (x *index) dueAt(c *class, now time.Time) int64 {
	var at int64
	if len(c.due) > 0 {
		at = c.due[0].next
	}
	if p := c.parked.due; len(p) > 0 && c.extra < c.beside && (at == 0 || p[0].next < at) {
		at = p[0].next
	}
	if at != 0 && at <= now.UnixNano() { // it is due, and the budget has nothing
		at = x.budget.again(now).UnixNano()
	}
	if k := c.kept; len(k) > 0 && (at == 0 || k[0].next < at) {
		at = k[0].next
	}
	if s := c.schedule.heap; len(s) > 0 && c.extra < c.beside && (at == 0 || s[0].due < at) {
		at = s[0].due
	}
	return at
}

// held counts the lanes that are due and that the budget has nothing for.
func (x *index) held(now time.Time) (n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.budget.Spent(now) {
		return 0
	}
	for _, c := range []*class{&x.urgent, &x.bulk} {
		n += overdue(len(c.due), 0, func(i int) bool { return c.due[i].next <= now.UnixNano() })
		n += overdue(len(c.parked.due), 0, func(i int) bool { return c.parked.due[i].next <= now.UnixNano() })
	}
	return n
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

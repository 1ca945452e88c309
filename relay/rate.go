package relay

import (
	"cmp"
	"math"
	"sync"
	"time"
)

// Rate is how much is taken of one caller, or of one organization.
type Rate struct {
	PerSecond float64 // 0: no bound
	Burst     int     // that may come at once; 0: what comes in a second, and one at least
}

// burst is how many may come at once.
func (r Rate) burst() int { return cmp.Or(r.Burst, max(1, int(math.Ceil(r.PerSecond)))) }

// Allowance is what is left of a rate after a request.
type Allowance struct {
	Quota  int           // that may come at once
	Window time.Duration // in which as many come again
	Left   int
	Wait   time.Duration // until one more may come; 0: it may
}

// DefaultMeters is how many a Meter remembers.
const DefaultMeters = 65536

// Meter holds rates of many, each by its name. It remembers so many at most: then
// those who used least are forgotten, and begin anew with all that may come at
// once. Its own lock is the only one.
type Meter struct {
	most int

	mu      sync.Mutex
	buckets map[string]*bucket
}

// NewMeter makes a Meter that remembers so many at most; 0: DefaultMeters.
func NewMeter(most int) *Meter {
	return &Meter{most: cmp.Or(most, DefaultMeters), buckets: map[string]*bucket{}}
}

// Look says whether one more may come now, and takes nothing.
func (m *Meter) Look(name string, r Rate, now time.Time) Allowance {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.look(name, r, now, false)
}

// Take takes one, if one may come now.
func (m *Meter) Take(name string, r Rate, now time.Time) Allowance {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.look(name, r, now, true)
}

func (m *Meter) look(name string, r Rate, now time.Time, take bool) Allowance {
	b := m.buckets[name]
	if b == nil {
		m.makeRoom(now)
		fresh := newBucket(r.PerSecond, r.burst())
		fresh.tokens = fresh.burst
		b = &fresh
		m.buckets[name] = b
	}
	b.rate, b.burst = r.PerSecond, float64(r.burst()) // an operator may have changed them
	a := Allowance{Quota: r.burst(), Wait: b.wait(now, 1)}
	a.Window = max(time.Second, time.Duration(math.Ceil(min(b.burst/b.rate, maxWait.Seconds())))*time.Second)
	if a.Wait == 0 && take {
		b.take()
	}
	a.Left = max(0, int(b.tokens))
	return a
}

// PutBack gives back what was taken for a request that did not come in.
func (m *Meter) PutBack(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b := m.buckets[name]; b != nil {
		b.putBack()
	}
}

// makeRoom forgets those who could use all again; where that is not an eighth of
// them, any others too. So the search is not made for each new one while senders
// without number come.
func (m *Meter) makeRoom(now time.Time) {
	if len(m.buckets) < m.most {
		return
	}
	for name, b := range m.buckets {
		if b.wait(now, 1) == 0 && b.tokens >= b.burst {
			delete(m.buckets, name)
		}
	}
	for name := range m.buckets {
		if len(m.buckets) < m.most && len(m.buckets) <= m.most-m.most/8 {
			return
		}
		delete(m.buckets, name)
	}
}

package relay

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// someTimes gives a message its class, and may schedule it or have it expire.
func someTimes(chance *rand.Rand) func(*Message) {
	urgent, scheduled, expires := chance.IntN(4) == 0, chance.IntN(6) == 0, chance.IntN(8) == 0
	ahead, after := time.Duration(chance.Int64N(int64(3*time.Minute))), 20*time.Second+time.Duration(chance.Int64N(int64(5*time.Minute)))
	return func(m *Message) {
		m.Urgent = urgent
		if scheduled {
			m.NotBefore = m.Stored.Add(ahead)
		}
		if expires {
			m.Expires = later(m.Stored, m.NotBefore).Add(after)
		}
	}
}

// ordered is within what a message has its order: lane and class.
func (m *modelMessage) ordered() string {
	if m.Urgent {
		return m.lane + " urgent"
	}
	return m.lane
}

// end is when a message is too old.
func (m *modelMessage) end() time.Time {
	end, _ := modelPolicy(m.Route).end(later(m.Stored, m.NotBefore), m.Expires)
	return end
}

func (m *modelMessage) times() (text string) {
	if m.Urgent {
		text += " urgent"
	}
	if !m.NotBefore.IsZero() {
		text += fmt.Sprintf(" in %s", m.NotBefore.Sub(m.Stored).Round(time.Millisecond))
	}
	if !m.Expires.IsZero() {
		text += fmt.Sprintf(" until %s", m.Expires.Sub(m.Stored).Round(time.Millisecond))
	}
	return text
}

// tellUrgent tells a drain of urgent messages as the edge does.
func (w *world) tellUrgent(g *Grant, s DrainStatus) {
	ledger := w.ledger()
	g.UrgentAfter, g.UrgentThrough = s.UrgentThrough, s.UrgentThrough
	for i := s.UrgentThrough; i < uint64(len(w.urgent)); i++ {
		if sequence := w.urgent[i]; sequence > s.Cursor && !ledger.Settled(sequence) {
			if len(g.Urgent) >= s.UrgentRoom {
				return
			}
			g.Urgent = append(g.Urgent, sequence)
		}
		g.UrgentThrough = i + 1
	}
}

// modelHold is an operator who wants to take messages back.
type modelHold struct {
	since time.Time
	told  string // session
	by    uint64 // answer by which it was told
	draw  int
}

// takeBack begins a hold.
func (w *world) takeBack(draw int) {
	if w.hold == nil {
		w.hold = &modelHold{since: time.Now(), draw: draw}
		w.note("hold")
	}
}

// heed says whether a session has to end its term. The question by which it says
// that it has tells what is under way; the rest may be taken back.
func (w *world) heed(session string, heeded uint64, s DrainStatus) bool {
	h := w.hold
	switch {
	case h == nil:
		return false
	case time.Since(h.since) > LeaseTTL || w.well:
		w.hold = nil
		return false
	case h.told != session:
		h.told, h.by = session, w.answers
		return true
	case heeded < h.by: // the answer was lost
		return true
	}
	w.hold = nil
	ledger, taken := w.ledger(), 0
	for _, m := range w.messages {
		if !ledger.Settled(m.Sequence) && !slices.Contains(s.Underway, m.Sequence) && w.chance("cancel", m.Sequence, uint64(h.draw)) < 0.3 && taken < 4 {
			taken++
			w.record(Event{Sequence: m.Sequence, ID: m.ID, State: Cancelled, Reason: ReasonOperator})
		}
	}
	w.barrier()
	w.note("hold is over: %d taken back, under way %v", taken, s.Underway)
	return false
}

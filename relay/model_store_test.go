package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// modelMessage is what was accepted.
type modelMessage struct {
	Message
	lane string // token
}

// modelJournal is the world's store as one process sees it. A process that was
// killed changes nothing any more.
type modelJournal struct {
	w      *world
	p      *process
	cursor uint64
	calls  uint64
}

var (
	errFault  = errors.New("the model's fault")
	errKilled = errors.New("this process was killed")
)

func (j *modelJournal) Ledger(context.Context) (*Ledger, error) {
	j.w.mu.Lock()
	defer j.w.mu.Unlock()
	return j.w.ledger(), j.p.linked()
}

func (j *modelJournal) Seek(_ context.Context, sequence uint64) error {
	j.w.mu.Lock()
	defer j.w.mu.Unlock()
	j.cursor = sequence
	return j.p.linked()
}

// Read fails now and then after it has moved the cursor, as a lost connection
// does.
func (j *modelJournal) Read(ctx context.Context, most int) ([]Entry, error) {
	for {
		j.w.mu.Lock()
		var entries []Entry
		for j.cursor <= uint64(len(j.w.messages)) && len(entries) < most {
			entries = append(entries, j.w.entry(j.cursor))
			j.cursor++
		}
		arrived := j.w.arrived
		j.calls++
		fault := j.w.chance("read", j.p.number, j.calls) < 0.02
		fault = fault || j.p.linked() != nil
		j.w.mu.Unlock()
		switch {
		case len(entries) > 0 && fault:
			return nil, errFault
		case len(entries) > 0:
			return entries, nil
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (j *modelJournal) Lane(_ context.Context, lane string, urgent bool, from, through uint64, most int) ([]Entry, error) {
	return j.find(from, through, most, func(m *modelMessage) bool { return m.lane == lane && m.Urgent == urgent })
}

func (j *modelJournal) Scheduled(_ context.Context, urgent bool, from, through uint64, most int) ([]Entry, error) {
	return j.find(from, through, most, func(m *modelMessage) bool { return !m.NotBefore.IsZero() && m.Urgent == urgent })
}

// find reads again, as far as it does not fail.
func (j *modelJournal) find(from, through uint64, most int, fits func(*modelMessage) bool) ([]Entry, error) {
	j.w.mu.Lock()
	defer j.w.mu.Unlock()
	j.calls++
	if j.w.chance("lane", j.p.number, j.calls) < 0.05 || j.p.linked() != nil {
		return nil, errFault
	}
	var entries []Entry
	for s := from; s <= min(through, uint64(len(j.w.messages))) && len(entries) < most; s++ {
		if fits(j.w.messages[s-1]) {
			entries = append(entries, j.w.entry(s))
		}
	}
	return entries, nil
}

func (j *modelJournal) Message(_ context.Context, sequence uint64) (*Message, error) {
	j.w.mu.Lock()
	defer j.w.mu.Unlock()
	j.calls++
	if j.w.chance("message", j.p.number, j.calls) < 0.02 || j.p.linked() != nil {
		return nil, errFault
	}
	m := j.w.messages[sequence-1].Message
	m.Run = uint64(j.w.run)
	return &m, nil
}

// Record takes a moment. It may fail without having stored anything, or after.
func (j *modelJournal) Record(ctx context.Context, e Event) error {
	j.w.mu.Lock()
	j.calls++
	chance := j.w.chance("record", j.p.number, j.calls)
	j.w.mu.Unlock()
	if !sleep(ctx, time.Duration(1+chance*20)*time.Millisecond) {
		return ctx.Err()
	}
	j.w.mu.Lock()
	defer j.w.mu.Unlock()
	switch {
	case j.p.linked() != nil:
		return j.p.linked()
	case chance < 0.03:
		return errFault
	}
	j.w.record(e)
	delete(j.p.unsaid, e.Sequence)
	if chance < 0.06 {
		j.w.excuse(e.Sequence, "its event was stored, and not acknowledged")
		return errFault
	}
	return nil
}

func (w *world) entry(sequence uint64) Entry {
	m := w.messages[sequence-1]
	e := Entry{Sequence: sequence, Lane: m.lane, Route: m.Route, Accepted: m.Stored, Urgent: m.Urgent, NotBefore: m.NotBefore, Expires: m.Expires, ID: m.ID}
	if e.NotBefore.After(e.Accepted) {
		e.Accepted = e.NotBefore
	}
	return e
}

// Newest is what the edge knows of the places that are asked for. It may not have
// read its journal yet, or not answer.
func (j *modelJournal) Newest(_ context.Context, r NewestRequest) (NewestReply, error) {
	j.w.mu.Lock()
	defer j.w.mu.Unlock()
	j.calls++
	chance := j.w.chance("newest", j.p.number, j.calls)
	if j.p.linked() != nil || chance < 0.02 {
		return NewestReply{}, errFault
	}
	reply := NewestReply{Known: chance > 0.05, Version: uint64(len(j.w.messages))}
	ledger := j.w.ledger()
	for i, m := range j.w.messages {
		place := Place{Lane: m.lane, Route: m.Route}
		asked := slices.Contains(r.Places, place) || r.Follow && uint64(i) >= r.Since
		if state := ledger.State(m.Sequence); reply.Known && asked && m.replaces(state) {
			reply.Newest = slices.DeleteFunc(reply.Newest, func(n Newest) bool { return n.Place == place })
			reply.Newest = append(reply.Newest, Newest{place, m.Sequence, m.ID})
		}
	}
	for _, n := range reply.Newest {
		for _, m := range j.w.messages[:n.Sequence-1] {
			if n.Place == (Place{Lane: m.lane, Route: m.Route}) {
				j.w.replaced[m.Sequence] = true
			}
		}
	}
	return reply, nil
}

func (m *modelMessage) replaces(state State) bool {
	return m.Route == "facts" && m.Replaces() && (!state.Settled() || state == Delivered)
}

// newer is the first message that replaces another, of those accepted before.
func (w *world) newer(m *modelMessage, before time.Time) *modelMessage {
	if m.Route != "facts" {
		return nil
	}
	ledger := w.ledger()
	for _, n := range w.messages[m.Sequence:] {
		if n.lane == m.lane && n.Stored.Before(before) && n.replaces(ledger.State(n.Sequence)) {
			return n
		}
	}
	return nil
}

// accept stores a message.
func (w *world) accept(lane, route, from string, times func(*Message)) *modelMessage {
	m := &modelMessage{Message: Message{Queue: w.queue, Route: route, Lane: lane, Received: time.Now(), Stored: time.Now(),
		Sequence: uint64(len(w.messages) + 1), ReplayedFrom: from}}
	m.ID = KeyedID(w.queue, fmt.Sprint(m.Sequence))
	m.lane = LaneToken(lane, m.ID)
	times(&m.Message)
	if m.Urgent {
		w.urgent = append(w.urgent, m.Sequence)
	}
	w.messages = append(w.messages, m)
	close(w.arrived)
	w.arrived = make(chan struct{})
	w.note("accept %d lane %s route %s%s%s", m.Sequence, lane, route, from, m.times())
	return m
}

// record stores an event.
func (w *world) record(e Event) {
	e.Recorded = time.Now()
	w.events = append(w.events, e)
	if e.State.Settled() {
		w.ended[e.Sequence] = true
	}
	w.note("event %d %s %s attempt %d", e.Sequence, e.State, e.Reason, e.Attempt)
	if e.Pause && w.paused.IsZero() && w.ledger().State(e.Sequence) == Waiting {
		w.note("paused for %d", e.Sequence)
		w.paused = e.Recorded
	}
}

// ledger adds up all events.
func (w *world) ledger() *Ledger {
	l := NewLedger()
	for i, e := range w.events {
		l.Apply(e, uint64(i+1))
	}
	return l
}

// barrier makes safe what was recorded so far.
func (w *world) barrier() { w.safe = len(w.events) }

// powerCut takes back what was recorded since the last barrier.
func (w *world) powerCut() {
	for _, e := range w.events[w.safe:] {
		w.excuse(e.Sequence, "its event was lost in a power cut")
	}
	w.note("power cut: %d events lost", len(w.events)-w.safe)
	w.events = w.events[:w.safe]
	w.run++
	w.lease.Renewed = time.Now()
}

package relay

import (
	"encoding/json"
	"fmt"
	"time"
)

// Event is one line of a queue's record: an attempt that failed, or how a
// message was settled. It is one event when the first attempt settles it. A run
// of the edge begins with an event of its own (Started).
type Event struct {
	Sequence uint64 // of the message in its journal
	ID       string // of the message
	State    State  // Waiting: a failed attempt; else how it was settled
	Attempt  int    // number of the attempt, 0 where there was none
	Status   int    // last HTTP status, 0: none
	Reason   string
	Detail   string    // excerpt of the answer, bounded by MaxDetail
	Next     time.Time // for Waiting
	Epoch    uint64    // of the lease under which it was written; 0: the edge
	Keyed    bool      // the message has an idempotency key to remember
	Link     string    // id of the message that replaces this one
	// Ambiguous: the attempt was sent, and nobody knows what came of it.
	Ambiguous bool
	Run       uint64 // of the edge, as the drain knew it that wrote this; 0: the edge itself
	Reach     uint64 // of Started only

	Failures int  // for Waiting: attempts that count against the policy
	Slow     int  // for Waiting: attempts in a row that had to wait for somebody else
	Pause    bool // for Waiting: the queue is to be paused for this message

	Recorded time.Time // by the broker's clock; not encoded
}

// wireEvent is the stored form: short names, because there is one of these for
// every message.
type wireEvent struct {
	Sequence uint64 `json:"s"`
	ID       string `json:"i"`
	State    State  `json:"o"`
	Attempt  int    `json:"a,omitempty"`
	Status   int    `json:"c,omitempty"`
	Reason   string `json:"r,omitempty"`
	Detail   string `json:"d,omitempty"`
	Next     int64  `json:"n,omitempty"` // Unix milliseconds
	Epoch    uint64 `json:"e,omitempty"`
	Keyed    bool   `json:"k,omitempty"`
	Link     string `json:"l,omitempty"`
	Failures int    `json:"f,omitempty"`
	Slow     int    `json:"w,omitempty"`
	Pause    bool   `json:"p,omitempty"`

	Ambiguous bool   `json:"x,omitempty"`
	Run       uint64 `json:"u,omitempty"`
	Reach     uint64 `json:"h,omitempty"`
}

// Encode is the stored form of the event. A reason out of the closed set is
// stored as ReasonUnclassified.
func (e Event) Encode() ([]byte, error) {
	e.classify()
	w := wireEvent{Sequence: e.Sequence, ID: e.ID, State: e.State, Attempt: e.Attempt, Status: e.Status, Reason: e.Reason,
		Detail: e.Detail, Epoch: e.Epoch, Keyed: e.Keyed, Link: e.Link, Failures: e.Failures, Slow: e.Slow, Pause: e.Pause,
		Ambiguous: e.Ambiguous, Run: e.Run, Reach: e.Reach}
	if !e.Next.IsZero() {
		w.Next = e.Next.UnixMilli()
	}
	return json.Marshal(w)
}

// DecodeEvent reads the stored form; a reason out of the closed set is read as
// ReasonUnclassified.
func DecodeEvent(b []byte) (Event, error) {
	w, err := decodeWire(b)
	if err != nil {
		return Event{}, err
	}
	ofMessage := w.Sequence > 0 && (w.State == Waiting || w.State.Settled())
	if !ofMessage && (w.State != Started || w.Run == 0) {
		return Event{}, fmt.Errorf("event of sequence %d with state %q is none of ours", w.Sequence, w.State)
	}
	e := Event{Sequence: w.Sequence, ID: w.ID, State: w.State, Attempt: w.Attempt, Status: w.Status,
		Reason: w.Reason, Detail: w.Detail, Epoch: w.Epoch, Keyed: w.Keyed, Link: w.Link,
		Failures: w.Failures, Slow: w.Slow, Pause: w.Pause,
		Ambiguous: w.Ambiguous, Run: w.Run, Reach: w.Reach}
	if w.Next != 0 {
		e.Next = time.UnixMilli(w.Next).UTC()
	}
	e.classify() // a newer drain may know more of them
	return e, nil
}

func decodeWire(b []byte) (w wireEvent, err error) {
	if w.read(b) {
		return w, nil
	}
	w = wireEvent{}
	if err := json.Unmarshal(b, &w); err != nil {
		return w, fmt.Errorf("event is not JSON: %w", err)
	}
	return w, nil
}

package relay

import (
	"context"
	"io"
	"time"
)

// Message is one accepted request. Everything but the body travels in the envelope
// (see envelope.go); the body is stored and delivered unchanged.
type Message struct {
	ID    string // public id; begins with the token of its queue
	Queue Queue
	Route string // name of the route that took it
	Lane  string // ordering key, lower-cased; empty: a lane of its own
	Key   string // idempotency key as given or derived; empty: none

	Method          string // of the request to the destination
	Path            string // with query; empty: the destination's own URL
	ContentType     string
	Accept          string
	ContentEncoding string // empty unless the route keeps encoded bodies
	RequestID       string
	Header          map[string]string // further headers that travel; nil: none
	Sender          string            // who sent it, as Sender.String has it; empty: nobody said

	Received      time.Time // by the edge's clock
	Digest        string    // SHA-256 of the body, hexadecimal
	ReplayedFrom  string    // id of the dead letter this one replays
	SettledBefore bool      // its key was settled earlier, beyond the journal
	Body          []byte
	// Kind tells messages of a latest route in one lane apart: a newer one
	// replaces those of its own kind alone. At most MaxKind bytes.
	Kind string
	// Origin is the sequence of the message that a replay brings again; 0: none.
	Origin uint64

	Sequence uint64    // in the queue's journal; 0 before it is stored
	Stored   time.Time // by the broker's clock; zero before it is stored

	Run       uint64    // of the edge that it was read from; 0 where that is not told
	NotBefore time.Time // by the edge's clock; zero: at once
	Expires   time.Time // by the edge's clock; zero: its route's age alone
	Urgent    bool      // before the bulk of its queue
	Buried    string    // the reason of a letter, also of one that was imported; never delivered

	// What is sealed to the keys of whoever delivers: see sealed.go. Digest is that
	// of the body as it is stored.
	Sealed     string // credentials, base64; empty: there are none
	Standing   bool   // they are those of Foreman's document for the queue; else its sender has passed them
	SealedTo   string // ids of the keys, with commas
	Encryption string // of the body, EncryptionAge; empty: it is in clear
	Print      string // stands for the clear form of a sealed body; empty: it is in clear

	// Credentials are the opened ones, for one attempt; never stored.
	Credentials *Credentials

	// A body that is not in Body: see body.go.
	Object string // the pieces in which it is stored; empty: it is in Body
	Size   int64  // of the body that Open reads, in bytes; -1: not known before it was read
	Open   func(ctx context.Context) (io.ReadCloser, error)
}

// ScheduledAt says whether the message is not due at now.
func (m *Message) ScheduledAt(now time.Time) bool { return m.NotBefore.After(now) }

// State is where a message stands; docs/states.md has the picture.
type State string

// The states. Accepted, Queued, Delivering, Waiting and Scheduled are pending;
// the others are settled.
const (
	Accepted   State = "accepted"
	Scheduled  State = "scheduled"
	Queued     State = "queued"
	Delivering State = "delivering"
	Waiting    State = "waiting"
	Delivered  State = "delivered"
	Dead       State = "dead"
	Superseded State = "superseded"
	Cancelled  State = "cancelled"
	Discarded  State = "discarded"
	Duplicate  State = "duplicate"
)

// SettledStates are the states a message does not leave by itself, in the order
// in which the ledger's equation names them.
var settledStates = [...]State{Delivered, Dead, Superseded, Cancelled, Discarded, Duplicate}

// Settled says whether s ends the message's way.
func (s State) Settled() bool {
	for _, t := range settledStates {
		if s == t {
			return true
		}
	}
	return false
}

// Receipt is what the sender of an accepted message gets.
type Receipt struct {
	ID         string    `json:"id"`
	State      State     `json:"state"`
	Queue      Queue     `json:"queue"`
	Durability string    `json:"durability"` // what the message really has
	AcceptedAt time.Time `json:"accepted_at"`
	Location   string    `json:"location"`
	Replayed   bool      `json:"replayed"` // the key was known: this is the first answer again, but for State
}

package relay

import (
	"slices"
	"strings"
	"time"
)

// Limits of listings of messages. A scan reads envelopes, not bodies.
const (
	DefaultPeekLimit    = 10
	DefaultMessageLimit = 100
	MaxMessageLimit     = 10_000
	MaxMessagesScanned  = 100_000  // envelopes that one listing reads, over all queues
	MaxPeekBodies       = 32 << 20 // bytes of bodies in one answer
	MaxExcerpt          = 64 << 10 // bytes of a body above MaxInline that are shown
)

// PeekOptions limit a peek. Limit 0 means DefaultPeekLimit.
type PeekOptions struct {
	Limit int
	Body  bool // the bodies too
}

// MessageFilter chooses messages that the journals hold, the newest first. Zero
// values do not limit, but Limit 0 means DefaultMessageLimit.
type MessageFilter struct {
	Queue *Queue
	State State
	Route string
	Host  string // ordering key
	Since time.Time
	Limit int
}

// Check refuses what no message can be.
func (f MessageFilter) Check() error {
	known := []State{Scheduled, Queued, Delivering, Waiting, Delivered, Dead, Superseded, Cancelled, Discarded, Duplicate}
	if f.State != "" && !slices.Contains(known, f.State) {
		names := make([]string, len(known))
		for i, s := range known {
			names[i] = string(s)
		}
		return Refuse(CodeMalformed, "%q is not a state; choose one of %s", f.State, strings.Join(names, ", "))
	}
	if f.Limit < 0 || f.Limit > MaxMessageLimit {
		return Refuse(CodeMalformed, "limit is %d; it must be from 1 to %d", f.Limit, MaxMessageLimit)
	}
	return nil
}

// MessageList is a listing of messages. Incomplete says, in a sentence, why it
// may lack something that fits; empty: it does not.
type MessageList struct {
	Messages   []MessageSummary `json:"messages"`
	Incomplete string           `json:"incomplete,omitempty"`
}

// MessageSummary is one row of a listing.
type MessageSummary struct {
	ID           string     `json:"id"`
	Organization string     `json:"organization"`
	Destination  string     `json:"destination"`
	State        State      `json:"state"`
	Route        string     `json:"route"`
	Lane         string     `json:"lane,omitempty"`
	Sequence     uint64     `json:"sequence"`
	AcceptedAt   time.Time  `json:"accepted_at"`
	Bytes        int        `json:"bytes"`
	Attempts     int        `json:"attempts"` // that have failed; known while it waits
	NextAttempt  *time.Time `json:"next_attempt,omitempty"`
	Reason       string     `json:"reason,omitempty"`   // why it waits
	Body         []byte     `json:"body,omitempty"`     // of a peek that asked for it
	BodyCut      bool       `json:"body_cut,omitempty"` // Body is the beginning, MaxExcerpt bytes of it

	NotBefore *time.Time `json:"not_before,omitempty"`
	Expires   *time.Time `json:"expires,omitempty"`
	Urgent    bool       `json:"urgent,omitempty"`

	Encryption string `json:"encryption,omitempty"` // of the body, which is shown as it is stored then
	SealedTo   string `json:"sealed_to,omitempty"`  // ids of the keys that open what is sealed
}

package relay

import (
	"context"
	"time"
)

// Operator is what an operator can see and do. The broker implements it, the
// admin API serves it, and the admin client is it again from the other side of
// the socket; errors are *Error on both sides.
type Operator interface {
	Queues(ctx context.Context) ([]QueueStatus, error)
	Queue(ctx context.Context, q Queue) (QueueStatus, error)
	// Pause stops the delivery of a queue, not its acceptance, until Resume; nil
	// only once that would survive a power cut, and a drain that answers begins no
	// attempt any more. Pausing again replaces by and
	// reason, resuming what is not paused changes nothing.
	Pause(ctx context.Context, q Queue, by, reason string) error
	Resume(ctx context.Context, q Queue) error
	// Peek lists the next pending messages in journal order and changes nothing.
	Peek(ctx context.Context, q Queue, o PeekOptions) (MessageList, error)
	Message(ctx context.Context, id string) (MessageStatus, error)
	Messages(ctx context.Context, f MessageFilter) (MessageList, error)
	// Cancel takes a pending message back: it is not delivered any more.
	// CodeConflict where it is settled, or an attempt is being made.
	Cancel(ctx context.Context, id string) error
	// Purge discards pending messages of a queue, WithdrawBatch of them at most.
	Purge(ctx context.Context, q Queue, f PurgeFilter) (Purged, error)
	Why(ctx context.Context, id string) (Explanation, error)
	DeadLetters(ctx context.Context, f DeadLetterFilter) ([]DeadLetter, error)
	DeadLetter(ctx context.Context, id string) (DeadLetter, error)
	// Replay accepts the letter again as a new message, which supersedes it: with
	// the edit, if it has one. A letter has one replay; CodeConflict where another
	// edit of it was accepted before.
	Replay(ctx context.Context, id string, e Edit) (Receipt, error)
	Discard(ctx context.Context, id string) error
	// Causes groups the letters of a filter; its limit is that of the causes.
	Causes(ctx context.Context, f DeadLetterFilter) (CauseReport, error)
	// ExportDeadLetter is the letter with all that ImportDeadLetter needs to make
	// it again, here or in another relay. Importing what is there changes nothing.
	ExportDeadLetter(ctx context.Context, id string) (ExportedLetter, error)
	ImportDeadLetter(ctx context.Context, x ExportedLetter) (ImportedLetter, error)
	// Audit proves the ledgers from what is stored, or names what breaks them.
	Audit(ctx context.Context, o AuditOptions) ([]AuditReport, error)
}

// QueueStatus is one row of `queue ls`: sizes in bytes, ages in seconds.
type QueueStatus struct {
	Organization string `json:"organization"`
	Destination  string `json:"destination"`

	Accepted   uint64 `json:"accepted"`
	Pending    uint64 `json:"pending"` // all that is not settled
	Delivering uint64 `json:"delivering"`
	Waiting    uint64 `json:"waiting"`
	Scheduled  uint64 `json:"scheduled"`
	Delivered  uint64 `json:"delivered"`
	Dead       uint64 `json:"dead"`
	Superseded uint64 `json:"superseded"`
	Cancelled  uint64 `json:"cancelled"`
	Discarded  uint64 `json:"discarded"`
	Duplicate  uint64 `json:"duplicate"`

	OldestAgeSeconds float64 `json:"oldest_age_seconds"` // of the oldest pending message
	Bytes            uint64  `json:"bytes"`              // of journal and large bodies on disk
	QuotaBytes       uint64  `json:"quota_bytes"`
	Paused           bool    `json:"paused"`
	Pause            *Pause  `json:"pause,omitempty"` // of a paused queue: who, when, why
	Breaker          string  `json:"breaker"`         // closed, open, half-open; unknown without a drain
	// Of a circuit that is not closed: since when, and why.
	BreakerSince  *time.Time `json:"breaker_since,omitempty"`
	BreakerReason string     `json:"breaker_reason,omitempty"`
	Drain         string     `json:"drain"` // who holds the lease; empty: nobody
	Epoch         uint64     `json:"epoch"` // of that lease
	Floor         uint64     `json:"floor"` // everything up to this sequence is settled
	// RetriesHeld are due and held back by the retry budget, as the drain said last.
	RetriesHeld uint64 `json:"retries_held"`
	// HeldBy is what the next message of the queue waits for before the
	// destination: its share, the rate, or a time of quiet (throttled).
	HeldBy string `json:"held_by,omitempty"`
}

// MessageStatus is where one message stands, with its events.
type MessageStatus struct {
	ID           string        `json:"id"`
	Organization string        `json:"organization"`
	Destination  string        `json:"destination"`
	State        State         `json:"state"`
	Route        string        `json:"route,omitempty"`
	Lane         string        `json:"lane,omitempty"`
	Key          string        `json:"key,omitempty"`
	Sequence     uint64        `json:"sequence,omitempty"`
	AcceptedAt   *time.Time    `json:"accepted_at,omitempty"`
	Bytes        int           `json:"bytes,omitempty"`
	Digest       string        `json:"digest,omitempty"`
	Attempts     int           `json:"attempts"`
	Ambiguous    int           `json:"ambiguous,omitempty"` // recorded attempts of which nobody knows what came
	NextAttempt  *time.Time    `json:"next_attempt,omitempty"`
	Reason       string        `json:"reason,omitempty"`
	Durability   string        `json:"durability,omitempty"`
	ReplayedFrom string        `json:"replayed_from,omitempty"`
	Sender       string        `json:"sender,omitempty"` // name and fingerprint
	ReplacedBy   string        `json:"replaced_by,omitempty"`
	InJournal    bool          `json:"in_journal"` // false: settled, and trimmed since
	Events       []EventStatus `json:"events"`

	NotBefore *time.Time `json:"not_before,omitempty"`
	Expires   *time.Time `json:"expires,omitempty"` // the time it was given; its route may have an earlier one
	Urgent    bool       `json:"urgent,omitempty"`

	Encryption  string `json:"encryption,omitempty"`  // of the body, which only a drain can read then
	Credentials string `json:"credentials,omitempty"` // sealed: some were passed with it
	SealedTo    string `json:"sealed_to,omitempty"`   // ids of the keys that open what is sealed
}

// EventStatus is one event as operators see it.
type EventStatus struct {
	At      time.Time  `json:"at"`
	State   State      `json:"state"`
	Attempt int        `json:"attempt,omitempty"`
	Status  int        `json:"status,omitempty"`
	Reason  string     `json:"reason,omitempty"`
	Detail  string     `json:"detail,omitempty"`
	Next    *time.Time `json:"next,omitempty"`
	Epoch   uint64     `json:"epoch,omitempty"`
	// Ambiguous: the attempt was sent, and nobody knows what came of it.
	Ambiguous bool `json:"ambiguous,omitempty"`
}

// Queue is the name of the row's queue.
func (s *QueueStatus) Queue() Queue { return Queue{s.Organization, s.Destination} }

// SetTotals fills in the settled counts.
func (s *QueueStatus) SetTotals(t Totals) {
	s.Delivered, s.Dead, s.Superseded = t[Delivered], t[Dead], t[Superseded]
	s.Cancelled, s.Discarded, s.Duplicate = t[Cancelled], t[Discarded], t[Duplicate]
}

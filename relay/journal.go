package relay

import (
	"context"
	"errors"
	"time"
)

// ErrMissing: the journal holds no message with that sequence.
var ErrMissing = errors.New("message is not in the journal")

// Entry is a message as its place in the journal shows it, without its body. The
// index keeps less: see item.
type Entry struct {
	Sequence uint64
	Lane     string // token, not the name
	Route    string
	Accepted time.Time // its age counts from here: of a scheduled message, from when it was due
	Attempts int
	Next     time.Time // not before; zero: at once

	ID    string // these two come with the body, those of a latest route at once
	Keyed bool

	Failures int // attempts that count against the policy
	Slow     int // attempts in a row that had to wait for somebody else

	Urgent    bool
	NotBefore time.Time // zero: at once
	Expires   time.Time // zero: its route's age alone
	Latest    bool      // a newer one of the same place replaces it: see Policy.Latest
	Kind      string    // as in Message
}

// Journal is one queue as its drain may see it: it reads forward, looks at
// single messages, and records what became of them. It cannot publish, delete
// or move anything.
type Journal interface {
	// Ledger reads the settled record up to this moment.
	Ledger(ctx context.Context) (*Ledger, error)
	// Seek moves the cursor: Read goes on with this sequence.
	Seek(ctx context.Context, sequence uint64) error
	// Read returns the next entries in journal order without a gap, at least
	// one, waiting for it; after an error the caller must Seek.
	Read(ctx context.Context, max int) ([]Entry, error)
	// Lane reads the entries of one lane of bulk, or of urgent messages, with
	// from <= sequence <= through, at most max, in order. Those with a NotBefore
	// may be left out: the schedule has them.
	Lane(ctx context.Context, lane string, urgent bool, from, through uint64, max int) ([]Entry, error)
	// Scheduled reads the entries of a class that have a NotBefore, as Lane does.
	Scheduled(ctx context.Context, urgent bool, from, through uint64, max int) ([]Entry, error)
	// Message reads a message whole; ErrMissing, or ErrEnvelope with no more of
	// the message than its id and run. That an attempt of it may begin is on the
	// disk when it returns.
	Message(ctx context.Context, sequence uint64) (*Message, error)
	// Record stores an event; nil only after the broker has it.
	Record(ctx context.Context, e Event) error
	// Newest asks the edge what is the newest message of a place; see compact.go.
	Newest(ctx context.Context, r NewestRequest) (NewestReply, error)
}

// Clock is the time, as an argument.
type Clock func() time.Time

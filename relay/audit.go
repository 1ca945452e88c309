package relay

import "time"

// AuditOptions choose what is proved.
type AuditOptions struct {
	Queue *Queue    // nil: all
	Since time.Time // trust what an earlier audit has proved of the time before; zero: prove all that is stored
}

// MaxAuditFindings and MaxAuditNotes bound what one report names; its counters
// count all.
const (
	MaxAuditFindings = 100
	MaxAuditNotes    = 4096
)

// AuditReport is the proof of one queue's ledger, or what breaks it.
type AuditReport struct {
	Organization string `json:"organization"`
	Destination  string `json:"destination"`
	Balanced     bool   `json:"balanced"`
	Accepted     uint64 `json:"accepted"`
	Pending      uint64 `json:"pending"`
	Totals       Totals `json:"totals"`
	EventsRead   uint64 `json:"events_read"`
	MessagesRead uint64 `json:"messages_read"` // of the journal, without their bodies
	SettledTwice uint64 `json:"settled_twice"` // recorded again after a crash or takeover; counted once
	Refused      uint64 `json:"refused"`       // events about messages that a power cut took; not counted
	// InDoubt counts the messages that may have been delivered by a run that was
	// cut off before what it recorded was on the disk: they are delivered again.
	InDoubt  uint64         `json:"in_doubt"`
	Trusted  *time.Time     `json:"trusted_until,omitempty"` // nothing from before was proved again
	Findings []AuditFinding `json:"findings"`
	Notes    []AuditFinding `json:"notes"` // what an operator may want to know, and breaks nothing
}

// AuditFinding is one thing that breaks the ledger, or a note.
type AuditFinding struct {
	Sequence uint64 `json:"sequence,omitempty"`
	ID       string `json:"id,omitempty"`
	What     string `json:"what"`
}

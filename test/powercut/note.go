package main

import "github.com/theforeman/foreman-relay/relay"

// job is what the host wants of one run of the machine, a file in its initrd.
type job struct {
	Round int
	Mode  string   // --durability
	Acked []stored // what must be there
	Load  bool     // then post reports until the power is cut

	Delivered map[string]bool // digests of what Foreman has counted in earlier runs
}

// stored is a message that the relay has answered for.
type stored struct {
	ID     string
	Digest string // of the body, SHA-256, hexadecimal
}

// note is what the machine tells the host, a line of JSON each. It is told
// before the machine goes on, so no cut takes it back.
type note struct {
	Kind string
	Text string `json:",omitempty"`

	Stored     stored      `json:",omitzero"`  // noteAcked, noteLost
	Durability string      `json:",omitempty"` // noteAcked: what the receipt says
	State      relay.State `json:",omitempty"` // noteThere
	Count      int         `json:",omitempty"` // noteThere, noteDoubt
}

const (
	noteReady  = "ready"  // the relay takes requests
	noteAcked  = "acked"  // it has answered 201
	noteLost   = "lost"   // it does not know what it answered for; Text says how
	noteThere  = "there"  // so many of Acked are known, by state
	noteLedger = "ledger" // Text says what breaks it; empty: it balances
	noteSent   = "sent"   // Foreman has counted it; Stored has its digest
	noteAgain  = "again"  // so many were delivered before and are not on the record: they are delivered again
	noteDoubt  = "doubt"  // so many does audit name as such, or as what may be
	noteDone   = "done"   // all of Acked was looked for
	noteFailed = "failed" // the run is no use; Text says why
)

package spool

import (
	"errors"
	"fmt"

	"github.com/theforeman/foreman-relay/relay"
)

// Entry is one thing in a spool: a file that holds a message, or what stays
// where it is.
type Entry struct {
	Name  string // below the spool directory
	Route string // of Foreman's, which takes the message
	Stays string // why it stays; empty: it holds a message
	Err   error  // why it stays though it may hold one

	message func(body []byte) (relay.Submission, error)
}

// HoldsMessage: it does not stay, as far as its name tells.
func (e Entry) HoldsMessage() bool { return e.Stays == "" && e.Err == nil }

// Message makes the message of a file's content, but for its queue. An error
// says what is damaged.
func (e Entry) Message(body []byte) (relay.Submission, error) {
	if len(body) == 0 {
		return relay.Submission{}, errors.New("it is empty: the old proxy was interrupted, or the disk was full, when it was written")
	}
	m, err := e.message(body)
	m.Route, m.Body = e.Route, body
	return m, err
}

// stays is an entry for what cannot be listed or is not known here.
func stays(name string, err error) Entry {
	if errors.Is(err, ErrForeign) {
		return Entry{Name: name, Stays: err.Error()}
	}
	return Entry{Name: name, Err: err}
}

func foreign(name, what string) Entry {
	return stays(name, fmt.Errorf("%w: %s", ErrForeign, what))
}

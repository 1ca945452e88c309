package cmd

import (
	"context"
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

// progressAfter is how often a run over many letters says how far it is.
const progressAfter = 2 * time.Second

// lettersRun does something to letters, one after the other, until all are done,
// somebody interrupts it, or the relay cannot go on.
type lettersRun struct {
	chosen chosenLetters
	did    string
	do     func(id string) error
	pace   *pace
	note   func(format string, args ...any)

	done, gone, failed int
	last               error
	ended              bool // before the end
}

func (r *lettersRun) run(stop context.Context) {
	told := time.Now()
	for _, id := range r.chosen.ids {
		if r.ended = !r.pace.wait(stop) || r.ended; r.ended {
			return
		}
		r.one(id)
		if r.ended {
			return
		}
		if now := time.Now(); now.Sub(told) >= progressAfter {
			told = now
			r.note("%s %d of %d dead letters so far", r.did, r.done, len(r.chosen.ids))
		}
	}
}

// one counts what becomes of a letter. One that a filter chose and somebody else
// was faster with is no failure.
func (r *lettersRun) one(id string) {
	err := r.do(id)
	switch {
	case err == nil:
		r.done++
	case relay.CodeOf(err) == relay.CodeNotFound && !r.chosen.named:
		r.gone++
	case len(r.chosen.ids) > 1 && ofNoLetter(err):
		r.last, r.ended = err, true
		r.note("%v", err)
	default:
		r.failed++
		if r.last = err; len(r.chosen.ids) > 1 {
			r.note("%s: %v", id, err)
		}
	}
}

// ofNoLetter: no other letter would fare better now.
func ofNoLetter(err error) bool {
	switch relay.CodeOf(err) {
	case relay.CodeUnavailable, relay.CodeStorageFull, relay.CodeQuotaFull, relay.CodeTooManyRequests, relay.CodeInternal:
		return true
	default:
		return false
	}
}

// finish says what was done and decides how the command ends.
func (r *lettersRun) finish() error {
	all := len(r.chosen.ids)
	if all > 1 {
		left := all - r.done - r.gone - r.failed
		r.note("%s %d of %d dead letters, %d failed, %d left", r.did, r.done, all, r.failed, left)
		if left > 0 {
			r.note("ended early; the same command again goes on")
		}
	}
	switch {
	case r.last == nil && r.ended: // interrupted
		return silentError{exitPartly}
	case r.last == nil:
		return nil
	case all == 1:
		return r.last
	case r.done > 0:
		return silentError{exitPartly}
	default:
		return silentError{exitCode(r.last)}
	}
}

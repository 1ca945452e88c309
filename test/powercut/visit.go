package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

// visit is one run of the machine, from its start to the power cut.
type visit struct {
	// What it found of what was answered in earlier runs.
	lost   []note
	states map[relay.State]int
	ledger string // what breaks it
	failed string // why it found nothing
	looked bool
	again  int // of what was delivered, the record was lost
	doubt  int // audit names so many as perhaps delivered

	// What was answered in this one.
	acked     []stored
	sent      []string      // digests of what Foreman has counted
	effective []string      // durability, as the receipts say
	after     time.Duration // from the first answer to the cut

	unflushed, kept int // sectors at the cut
}

// intact says that everything was found.
func (v *visit) intact() bool { return len(v.lost) == 0 && v.ledger == "" && v.failed == "" }

// watch follows a machine until it is off. Without a load the power is cut when
// the machine has looked for everything, else delay after the first answer.
func (v *visit) watch(ctx context.Context, m *machine, load bool, delay time.Duration) error {
	var power <-chan time.Time
	var first time.Time
	for {
		select {
		case n, on := <-m.notes:
			if !on {
				return errors.Join(m.wait(), ctx.Err())
			}
			v.take(n)
			if len(v.acked) > 0 && first.IsZero() {
				first, power = time.Now(), time.After(delay)
			}
			if v.failed != "" || v.looked && !load {
				m.cut()
			}
		case <-power:
			v.after = time.Since(first)
			m.cut()
		}
	}
}

func (v *visit) take(n note) {
	switch n.Kind {
	case noteAcked:
		v.acked = append(v.acked, n.Stored)
		if !slices.Contains(v.effective, n.Durability) {
			v.effective = append(v.effective, n.Durability)
		}
	case noteLost:
		v.lost = append(v.lost, n)
	case noteThere:
		v.states[n.State] = n.Count
	case noteSent:
		v.sent = append(v.sent, n.Stored.Digest)
	case noteAgain:
		v.again = n.Count
	case noteDoubt:
		v.doubt = n.Count
	case noteLedger:
		v.ledger = n.Text
	case noteDone:
		v.looked = true
	case noteFailed:
		v.failed = n.Text
	}
}

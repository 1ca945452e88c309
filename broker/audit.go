package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/theforeman/foreman-relay/relay"
)

// Audit proves the ledger of a queue, or of all, from what is stored: it adds up
// a base and every event after it anew, and holds the result against the
// journal, the dead letters, the stored checkpoint and the account that the edge
// keeps. It reads beside acceptance and delivery and stops neither; of its
// readers one works at a time.
//
// What it trusts is the base. That is the sum of the events which the record
// window has removed, or with Since the account that an earlier audit has proved
// and left (see proof).
func (b *Broker) Audit(ctx context.Context, o relay.AuditOptions) ([]relay.AuditReport, error) {
	if o.Queue != nil && !b.Known(*o.Queue) {
		return nil, relay.Refuse(relay.CodeNotFound, "there is no queue %s", *o.Queue)
	}
	select {
	case b.auditing <- struct{}{}:
		defer func() { <-b.auditing }()
	case <-ctx.Done():
		return nil, unavailable(ctx.Err())
	}
	reports := []relay.AuditReport{}
	for _, q := range b.chosen(o.Queue) {
		r, err := b.auditQueue(ctx, q, o.Since)
		if err != nil {
			return nil, unavailable(err)
		}
		reports = append(reports, r)
	}
	return reports, nil
}

// auditor is one queue's audit under way.
type auditor struct {
	relay.AuditReport
	b     *Broker
	queue relay.Queue
	since time.Time

	base       *relay.Ledger // what is trusted; read only
	ledger     *relay.Ledger // base, and every event since
	account    *relay.Ledger // what operators are shown, as it was when the audit began
	checkpoint *relay.Ledger // the stored one; nil once it was compared
	journal    jetstream.StreamState
	messages   prints
	letters    map[uint64]uint32 // by sequence: the id of those that have died since the base
	doubt      *roaring64.Bitmap // may have been delivered before, and are not settled
	run        uint64            // of the edge, as of the last event
	highest    relay.Event       // about the highest sequence
	keep       time.Time         // the account as it was then is left for the next audit
	proof      []byte
}

func (a *auditor) find(sequence uint64, id, format string, args ...any) {
	if len(a.Findings) < relay.MaxAuditFindings {
		a.Findings = append(a.Findings, relay.AuditFinding{Sequence: sequence, ID: id, What: fmt.Sprintf(format, args...)})
	}
}

func (a *auditor) note(sequence uint64, id, format string, args ...any) {
	if len(a.Notes) < relay.MaxAuditNotes {
		a.Notes = append(a.Notes, relay.AuditFinding{Sequence: sequence, ID: id, What: fmt.Sprintf(format, args...)})
	}
}

func (b *Broker) auditQueue(ctx context.Context, q relay.Queue, since time.Time) (relay.AuditReport, error) {
	a := &auditor{b: b, queue: q, since: since, letters: map[uint64]uint32{}, doubt: roaring64.New()}
	a.Organization, a.Destination = q.Organization, q.Destination
	a.Findings, a.Notes = []relay.AuditFinding{}, []relay.AuditFinding{}
	if err := b.accounts[q.Destination].current(ctx); err != nil { // the account is to hold all that has happened until now
		return a.AuditReport, err
	}
	for _, step := range []func(context.Context) error{a.open, a.readMessages, a.recount, a.checkJournal, a.checkLetters, a.checkObjects, a.checkAccount, a.nameAll} {
		if err := step(ctx); err != nil {
			return a.AuditReport, err
		}
	}
	a.Balanced = len(a.Findings) == 0
	if a.Balanced {
		a.leaveProof(ctx)
	}
	return a.AuditReport, nil
}

// open takes everything that the audit compares, in an order in which nothing
// that happens meanwhile looks wrong: the journal is trimmed only up to a stored
// checkpoint, and that only holds what the account holds.
func (a *auditor) open(ctx context.Context) error {
	var err error
	if a.journal, err = a.b.streamState(ctx, journalStream(a.queue)); err != nil {
		return err
	}
	if a.checkpoint, err = readLedger(ctx, a.b.nc, checkpointKey(a.queue)); err != nil {
		a.find(0, "", "the checkpoint cannot be read: %v", err)
		a.checkpoint = nil
	}
	if a.account, err = a.b.accounts[a.queue.Destination].copy(a.queue); err != nil {
		return err
	}
	if err := a.trust(ctx); err != nil {
		return err
	}
	if a.checkpoint != nil && a.checkpoint.Through() < a.base.Through() {
		a.checkpoint = nil // older than what is added up
	}
	return nil
}

// checkAccount: what operators are shown is what the record says.
func (a *auditor) checkAccount(context.Context) error {
	if a.account.Through() != a.ledger.Through() {
		a.find(0, "", "the account has followed the events through %d, the record through %d", a.account.Through(), a.ledger.Through())
	}
	if difference := a.account.Differs(a.ledger); difference != "" {
		a.find(0, "", "the account shows other than the events amount to: %s", difference)
	}
	return nil
}

// nameAll completes findings and notes with the ids of their messages, from the
// journal and else from the events.
func (a *auditor) nameAll(ctx context.Context) error {
	nameless := map[uint64][]*relay.AuditFinding{}
	for _, list := range [][]relay.AuditFinding{a.Findings, a.Notes} {
		for i, f := range list {
			if f.Sequence == 0 || f.ID != "" {
				continue
			}
			s, err := getOne(ctx, a.b.nc, apiGet(journalStream(a.queue)), f.Sequence)
			switch {
			case err == nil:
				name, _ := parseMessageSubject(s.subject) // empty where it is no subject of ours
				list[i].ID = name.id
			case errors.Is(err, errNotFound):
				nameless[f.Sequence] = append(nameless[f.Sequence], &list[i])
			default:
				return err
			}
		}
	}
	if len(nameless) == 0 {
		return nil
	}
	return a.events(ctx, 1, func(e relay.Event, _ *stored) error {
		for _, f := range nameless[e.Sequence] {
			f.ID = e.ID
		}
		return nil
	})
}

package broker

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

// A proof is the account of a queue as an audit that found nothing wrong has
// proved it, of a moment a while ago. The next audit need not go back further.

// proofAge is how far back the proof is that an audit leaves which was not asked
// for a time: the next one can then be asked for anything younger.
const proofAge = time.Hour

type proof struct {
	At     time.Time       `json:"at"` // every event before it is in the account, none after it
	Ledger json.RawMessage `json:"ledger"`
}

// trust reads the base of this audit. A proof is taken that is as old as was
// asked for, or older; where there is none, everything is proved.
func (a *auditor) trust(ctx context.Context) error {
	a.keep = a.since
	if a.since.IsZero() {
		a.keep = time.Now().Add(-proofAge)
	}
	at, base, err := a.readProof(ctx)
	if err != nil {
		return err
	}
	if base == nil {
		if base, err = readLedger(ctx, a.b.nc, baseKey(a.queue)); err != nil {
			return err
		}
	} else {
		a.Trusted = &at
	}
	a.base = base
	a.ledger, err = clone(base)
	return err
}

// readProof is nil where there is no proof that fits. One that is ahead of the
// account is of a record that the disk has lost.
func (a *auditor) readProof(ctx context.Context) (time.Time, *relay.Ledger, error) {
	if a.since.IsZero() {
		return time.Time{}, nil, nil
	}
	s, err := get(ctx, a.b.nc, apiGet(kvStream)+".$KV."+kvBucket+"."+proofKey(a.queue), nil)
	if errors.Is(err, errNotFound) {
		return time.Time{}, nil, nil
	}
	if err != nil {
		return time.Time{}, nil, err
	}
	var p proof
	if err := json.Unmarshal(s.data, &p); err != nil {
		return time.Time{}, nil, nil //nolint:nilerr // as if there were none: all is proved
	}
	ledger, err := relay.ReadCheckpoint(p.Ledger)
	if err != nil || p.At.After(a.since) || ledger.Through() > a.account.Through() {
		return time.Time{}, nil, nil //nolint:nilerr // the same
	}
	return p.At, ledger, nil
}

func clone(l *relay.Ledger) (*relay.Ledger, error) {
	value, err := l.Checkpoint()
	if err != nil {
		return nil, err
	}
	return relay.ReadCheckpoint(value)
}

// prove encodes the account as it is now; not where that is the sum of trimmed
// events alone, of which nobody knows until when they reach.
func (a *auditor) prove() {
	a.proof = []byte{}
	if a.Trusted == nil && a.base.Through() > 0 && a.ledger.Through() == a.base.Through() {
		return
	}
	ledger, err := a.ledger.Checkpoint()
	if err == nil {
		a.proof, err = json.Marshal(proof{a.keep, ledger})
	}
	if err != nil || len(a.proof) > maxCheckpoint {
		a.proof = []byte{} // there will be none
	}
}

// leaveProof stores it. It may be lost, which costs the next audit time.
func (a *auditor) leaveProof(ctx context.Context) {
	if a.proof == nil && a.ledger.Through() > 0 { // all events are older
		a.prove()
	}
	if len(a.proof) == 0 || a.b.health.admit() != nil {
		return
	}
	if _, err := a.b.kv.Put(ctx, proofKey(a.queue), a.proof); err != nil {
		a.b.log.Warn().Err(err).Str("queue", a.queue.String()).Msg("what the audit has proved could not be kept; the next one proves it again")
		return
	}
	a.b.barrier.MarkDirty()
}

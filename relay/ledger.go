package relay

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
)

// Totals counts settled messages by outcome, since the queue began.
type Totals map[State]uint64

// Sum is the number of settled messages.
func (t Totals) Sum() uint64 {
	var n uint64
	for _, c := range t {
		n += c
	}
	return n
}

// Ledger is the account of one queue, built by applying its events in the order
// in which they were stored. It counts by sequence: an event that comes twice,
// or a second settlement of one message, changes nothing.
//
// Not safe for concurrent use.
type Ledger struct {
	floor   uint64 // every sequence up to here is settled
	settled *roaring64.Bitmap
	dead    *roaring64.Bitmap           // dead letters that nobody has replayed or discarded
	others  map[State]*roaring64.Bitmap // settled otherwise than delivered or dead, until forgotten
	waiting map[uint64]Wait
	totals  Totals
	through uint64 // sequence of the last event applied
	runs    runs   // of the edge
}

// NewLedger is the account of an empty queue.
func NewLedger() *Ledger {
	return &Ledger{settled: roaring64.New(), dead: roaring64.New(), others: map[State]*roaring64.Bitmap{}, waiting: map[uint64]Wait{}, totals: Totals{}}
}

// Apply takes one event, stored with the given sequence in the record. It
// returns whether the event changed the account.
func (l *Ledger) Apply(e Event, eventSequence uint64) bool {
	if eventSequence <= l.through {
		return false
	}
	l.through = eventSequence
	switch {
	case e.State == Started:
		l.runs = l.runs.begin(runStart{e.Run, e.Sequence}, l.floor)
		return true
	case l.Refuses(e):
		return false
	case e.State == Waiting:
		return l.wait(e)
	case l.Settled(e.Sequence):
		return l.resolve(e)
	}
	delete(l.waiting, e.Sequence)
	l.totals[e.State]++
	l.mark(e)
	l.settled.Add(e.Sequence)
	l.raiseFloor()
	return true
}

// Refuses says whether an event is none of this account's: a drain that knew an
// earlier run of the edge wrote it about a message that the disk has lost, and
// whose sequence is another message's now.
func (l *Ledger) Refuses(e Event) bool { return l.runs.refuses(e) }

func (l *Ledger) wait(e Event) bool {
	if l.Settled(e.Sequence) || e.Attempt < l.waiting[e.Sequence].Attempts {
		return false
	}
	l.waiting[e.Sequence] = waitOf(e)
	return true
}

// resolve moves a dead letter on: replayed (superseded by the new message) or
// discarded. Nothing else changes a settled message, and only the edge, which
// has no epoch, changes this one.
func (l *Ledger) resolve(e Event) bool {
	if e.Epoch != 0 || (e.State != Superseded && e.State != Discarded) || !l.dead.Contains(e.Sequence) {
		return false
	}
	l.dead.Remove(e.Sequence)
	l.totals[Dead]--
	l.totals[e.State]++
	l.mark(e)
	return true
}

// mark remembers how a message was settled; delivered is what goes without
// saying.
func (l *Ledger) mark(e Event) {
	switch e.State {
	case Delivered:
	case Dead:
		l.dead.Add(e.Sequence)
	default:
		if l.others[e.State] == nil {
			l.others[e.State] = roaring64.New()
		}
		l.others[e.State].Add(e.Sequence)
	}
}

// Forget drops what only State needs of the messages before a sequence: those
// that the journal no longer holds.
func (l *Ledger) Forget(before uint64) {
	for _, set := range l.others {
		set.RemoveRange(0, before)
	}
}

// State is where the message with this sequence stands by the record. It knows
// nothing of attempts under way, and of a forgotten message only that it is
// settled: that one is called delivered.
func (l *Ledger) State(sequence uint64) State {
	if !l.Settled(sequence) {
		if _, waits := l.waiting[sequence]; waits {
			return Waiting
		}
		return Queued
	}
	if l.dead.Contains(sequence) {
		return Dead
	}
	for state, set := range l.others {
		if set.Contains(sequence) {
			return state
		}
	}
	return Delivered
}

func (l *Ledger) raiseFloor() {
	start := l.floor
	for l.settled.Contains(l.floor + 1) {
		l.floor++
	}
	if l.floor > start {
		l.settled.RemoveRange(start+1, l.floor+1)
	}
}

// Differs says in what another account of the same events is not the same;
// empty: in nothing that is counted.
func (l *Ledger) Differs(other *Ledger) string {
	for _, s := range settledStates {
		if a, b := l.totals[s], other.totals[s]; a != b {
			return fmt.Sprintf("%d %s, not %d", a, s, b)
		}
	}
	if l.floor != other.floor {
		return fmt.Sprintf("everything up to %d settled, not up to %d", l.floor, other.floor)
	}
	if apart := setsApart("settled", l.settled, other.settled); apart != "" {
		return apart
	}
	return setsApart("dead", l.dead, other.dead)
}

func setsApart(name string, a, b *roaring64.Bitmap) string {
	apart := roaring64.Xor(a, b)
	if apart.IsEmpty() {
		return ""
	}
	return fmt.Sprintf("another answer to whether %d is %s, and to %d more", apart.Minimum(), name, apart.GetCardinality()-1)
}

// Unsettled lists, ascending, the messages up to a sequence that are not settled
// and not known to wait beyond now.
func (l *Ledger) Unsettled(through uint64, now time.Time) []uint64 {
	var all []uint64
	for s := l.floor + 1; s <= through; s++ {
		if wait := l.waiting[s]; !l.settled.Contains(s) && !wait.Next.After(now) {
			all = append(all, s)
		}
	}
	return all
}

// Floor is the highest sequence up to which everything is settled.
func (l *Ledger) Floor() uint64 { return l.floor }

// Highest is the highest sequence that any event was about.
func (l *Ledger) Highest() uint64 {
	highest := l.floor
	if !l.settled.IsEmpty() {
		highest = max(highest, l.settled.Maximum())
	}
	for sequence := range l.waiting {
		highest = max(highest, sequence)
	}
	return highest
}

// Through is the sequence of the last event applied.
func (l *Ledger) Through() uint64 { return l.through }

// Settled says whether the message with this sequence is settled.
func (l *Ledger) Settled(sequence uint64) bool {
	return sequence <= l.floor || l.settled.Contains(sequence)
}

// SettledAbove counts the settled messages above the floor.
func (l *Ledger) SettledAbove() uint64 { return l.settled.GetCardinality() }

// DeadLetter says whether this message is a dead letter still.
func (l *Ledger) DeadLetter(sequence uint64) bool { return l.dead.Contains(sequence) }

// DeadLetters lists the sequences of the dead letters, ascending.
func (l *Ledger) DeadLetters() []uint64 { return l.dead.ToArray() }

// Waiting is what is known of a failed message.
func (l *Ledger) Waiting(sequence uint64) (Wait, bool) {
	w, ok := l.waiting[sequence]
	return w, ok
}

// Sequences lists, ascending, the messages that the account knows one by one to
// be in a state: all states but delivered, of which there are too many, and
// those of which it knows nothing, queued and delivering. ok is false for them.
func (l *Ledger) Sequences(s State) (sequences []uint64, ok bool) {
	switch {
	case s == Waiting:
		return slices.Sorted(maps.Keys(l.waiting)), true
	case s == Dead:
		return l.dead.ToArray(), true
	case s == Delivered || !s.Settled():
		return nil, false
	case l.others[s] == nil:
		return nil, true
	default:
		return l.others[s].ToArray(), true
	}
}

// WaitingCount is the number of messages between attempts.
func (l *Ledger) WaitingCount() int { return len(l.waiting) }

// Totals is a copy of the counts by outcome.
func (l *Ledger) Totals() Totals {
	t := make(Totals, len(settledStates))
	for _, s := range settledStates {
		t[s] = l.totals[s]
	}
	return t
}

// Counts completes the totals with what the journal says: accepted is its last
// sequence, because every sequence is one accepted message.
func (l *Ledger) Counts(accepted uint64) Counts {
	c := Counts{Accepted: accepted, Waiting: uint64(len(l.waiting)), Totals: l.Totals()}
	if settled := c.Totals.Sum(); settled < accepted {
		c.Pending = accepted - settled
	}
	return c
}

// Counts is the ledger of a queue as operators see it.
type Counts struct {
	Accepted uint64
	Pending  uint64 // all that is not settled
	Waiting  uint64 // of these, between attempts
	Totals   Totals
}

// checkpoint is the stored form of a ledger.
type checkpoint struct {
	Version int              `json:"version"`
	Floor   uint64           `json:"floor"`
	Settled []byte           `json:"settled"`
	Dead    []byte           `json:"dead"`
	Others  map[State][]byte `json:"others,omitempty"`
	Waiting map[uint64]Wait  `json:"waiting"`
	Totals  Totals           `json:"totals"`
	Through uint64           `json:"through"`
	Runs    runs             `json:"runs,omitempty"`
}

// Checkpoint encodes the account, so that a start needs only the events after
// Through.
func (l *Ledger) Checkpoint() ([]byte, error) {
	l.settled.RunOptimize()
	l.dead.RunOptimize()
	settled, err := l.settled.ToBytes()
	if err != nil {
		return nil, fmt.Errorf("encode settled set: %w", err)
	}
	dead, err := l.dead.ToBytes()
	if err != nil {
		return nil, fmt.Errorf("encode dead set: %w", err)
	}
	others := make(map[State][]byte, len(l.others))
	for state, set := range l.others {
		set.RunOptimize()
		if others[state], err = set.ToBytes(); err != nil {
			return nil, fmt.Errorf("encode %s set: %w", state, err)
		}
	}
	return json.Marshal(checkpoint{1, l.floor, settled, dead, others, l.waiting, l.totals, l.through, l.runs})
}

// ReadCheckpoint is the inverse of Checkpoint.
func ReadCheckpoint(b []byte) (*Ledger, error) {
	var c checkpoint
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("checkpoint is not JSON: %w", err)
	}
	if c.Version != 1 {
		return nil, fmt.Errorf("checkpoint version %d, this program reads 1", c.Version)
	}
	l := NewLedger()
	if err := l.settled.UnmarshalBinary(c.Settled); err != nil {
		return nil, fmt.Errorf("checkpoint, settled set: %w", err)
	}
	if err := l.dead.UnmarshalBinary(c.Dead); err != nil {
		return nil, fmt.Errorf("checkpoint, dead set: %w", err)
	}
	for state, b := range c.Others {
		l.others[state] = roaring64.New()
		if err := l.others[state].UnmarshalBinary(b); err != nil {
			return nil, fmt.Errorf("checkpoint, %s set: %w", state, err)
		}
	}
	l.floor, l.through, l.runs = c.Floor, c.Through, c.Runs
	for sequence, wait := range c.Waiting {
		l.waiting[sequence] = wait.complete()
	}
	if c.Totals != nil {
		l.totals = c.Totals
	}
	return l, nil
}

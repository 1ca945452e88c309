package broker

import (
	"context"
	"sync"

	"github.com/nats-io/nats.go"
)

// Bounds of what is read ahead of a queue's bodies.
const (
	aheadRun      = 32      // messages of one run
	aheadRunBytes = 1 << 20 // bytes of one run; a message always comes whole
	aheadKept     = 256     // messages that wait to be asked for
	aheadBytes    = 4 << 20 // bytes of these
	aheadAfter    = 8       // neighbours asked for in a row before a run is read
)

// ahead reads the bodies of a queue, and some before they are asked for: the
// heads of a backlog are neighbours in the journal, and a run of messages costs
// little more than one. Messages do not change, so one that was read is as good
// as one that is read; but an edge that starts again may have lost a tail and
// given its sequences anew, so nothing is kept over a lost connection or a Seek.
type ahead struct {
	read func(ctx context.Context, from uint64, max, bytes int) ([]*stored, error)

	mu    sync.Mutex
	link  context.Context //nolint:containedctx // the connection by which all in kept was read
	kept  map[uint64]*stored
	bytes int
	last  uint64        // asked for last
	near  int           // neighbours in a row
	under chan struct{} // closed when the run under way is read; nil: none
	from  uint64        // of that run
}

func newAhead(nc *nats.Conn, stream string) *ahead {
	return &ahead{kept: map[uint64]*stored{}, read: func(ctx context.Context, from uint64, max, bytes int) ([]*stored, error) {
		batch, _, err := getRun(ctx, nc, apiGet(stream), from, max, bytes)
		return batch, err
	}}
}

// get is the message with this sequence; errNotFound.
func (a *ahead) get(ctx, link context.Context, sequence uint64) (*stored, error) {
	for {
		s, wait, lead := a.take(link, sequence)
		switch {
		case s != nil:
			return s, nil
		case wait != nil:
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		most := 1
		if lead {
			most = aheadRun
		}
		batch, err := a.read(ctx, sequence, most, aheadRunBytes)
		if lead {
			a.keep(link, batch)
		}
		switch {
		case err != nil:
			return nil, err
		case len(batch) == 0 || batch[0].sequence != sequence:
			return nil, errNotFound
		}
		return batch[0], nil
	}
}

// take looks whether a message is there, or is being read (wait), or is for the
// caller to read, with those behind it (lead) or alone.
func (a *ahead) take(link context.Context, sequence uint64) (s *stored, wait <-chan struct{}, lead bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.link != link {
		a.forgetLocked()
		a.link = link
	}
	if s = a.kept[sequence]; s != nil {
		a.drop(sequence)
		a.follow(sequence)
		return s, nil, false
	}
	if a.under != nil && sequence > a.from && sequence < a.from+aheadRun {
		return nil, a.under, false
	}
	a.follow(sequence)
	if a.under != nil || a.near < aheadAfter {
		return nil, nil, false
	}
	a.under, a.from = make(chan struct{}), sequence
	return nil, nil, true
}

// follow counts neighbours.
func (a *ahead) follow(sequence uint64) {
	if sequence > a.last && sequence-a.last <= aheadRun {
		a.near++
	} else if sequence > a.last || a.last-sequence > aheadRun { // a lane that lags a little is no change of place
		a.near = 0
	}
	a.last = max(a.last, sequence)
	if a.near == 0 {
		a.last = sequence
	}
}

// keep ends a run: all but its first message wait to be asked for.
func (a *ahead) keep(link context.Context, batch []*stored) {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.under)
	a.under = nil
	if a.link != link || len(batch) == 0 {
		return
	}
	for _, s := range batch[1:] {
		if a.kept[s.sequence] == nil {
			a.kept[s.sequence] = s
			a.bytes += len(s.data)
		}
	}
	for sequence := range a.kept { // what nobody came for goes, whichever
		if len(a.kept) <= aheadKept && a.bytes <= aheadBytes {
			break
		}
		a.drop(sequence)
	}
}

func (a *ahead) drop(sequence uint64) {
	a.bytes -= len(a.kept[sequence].data)
	delete(a.kept, sequence)
}

// forget drops everything that was read.
func (a *ahead) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forgetLocked()
}

func (a *ahead) forgetLocked() {
	clear(a.kept)
	a.bytes, a.last, a.near, a.link = 0, 0, 0, nil
}

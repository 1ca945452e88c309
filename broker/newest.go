package broker

import (
	"container/list"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
	"unique"

	"github.com/nats-io/nats.go"

	"github.com/theforeman/foreman-relay/relay"
)

// DefaultPlaces bounds what is remembered of a queue: with a million places about
// 300 MB, beside the 370 MB that the broker itself needs for their messages.
const DefaultPlaces = 1 << 20

const (
	pruneInterval  = time.Second
	rereadInterval = time.Second
)

// newest remembers the newest message of each place of one queue's latest routes,
// for the drain that asks (relay/compact.go). A message is entered when it is as
// durable as its sender is told: what it replaces is settled for good, so it must
// not be lost itself. After a start it is read from the journal, in the
// background; until then the answer is that it is not known.
//
// Only what may still replace something is kept: what is above the floor.
type newest struct {
	queue  relay.Queue
	routes []string
	limit  int

	mu      sync.Mutex
	places  map[relay.Place]*list.Element // of *spot
	changed *list.List                    // the same, by version
	version uint64                        // of the last change
	known   bool
	left    uint64 // places that were forgotten because there are too many
}

// spot is the newest message of one place.
type spot struct {
	relay.Newest
	version uint64
}

func newNewest(q relay.Queue, routes []string, limit int) *newest {
	return &newest{queue: q, routes: routes, limit: limit, places: map[relay.Place]*list.Element{}, changed: list.New()}
}

// stored enters a message of a latest route that is stored and durable. Nothing
// of it is kept but its place and id.
func (n *newest) stored(m *relay.Message) {
	if m.Replaces() {
		n.enter(relay.Newest{Place: placeOf(m), Sequence: m.Sequence, ID: strings.Clone(m.ID)})
	}
}

func placeOf(m *relay.Message) relay.Place {
	return relay.Place{Lane: strings.Clone(relay.LaneToken(m.Lane, m.ID)), Route: unique.Make(m.Route).Value(), Kind: unique.Make(m.Kind).Value()}
}

func (n *newest) enter(m relay.Newest) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.version++
	if at, ok := n.places[m.Place]; ok {
		if s := spotAt(at); s.Sequence < m.Sequence {
			s.Newest, s.version = m, n.version
			n.changed.MoveToBack(at)
		}
		return
	}
	if len(n.places) >= n.limit {
		n.left++
		n.drop(n.changed.Front())
	}
	n.places[m.Place] = n.changed.PushBack(&spot{m, n.version})
}

func spotAt(e *list.Element) *spot { return e.Value.(*spot) } //nolint:forcetypeassert // nothing else is put there

func (n *newest) drop(e *list.Element) {
	delete(n.places, spotAt(e).Place)
	n.changed.Remove(e)
}

// prune forgets what can replace nothing any more: everything up to the floor is
// settled. It returns how many places had to be forgotten before their time.
func (n *newest) prune(floor uint64) (left uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for e := n.changed.Front(); e != nil && spotAt(e).Sequence <= floor; e = n.changed.Front() {
		n.drop(e)
	}
	left, n.left = n.left, 0
	return left
}

// of is the newest message of a place.
func (n *newest) of(p relay.Place) (relay.Newest, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if e, ok := n.places[p]; ok {
		return spotAt(e).Newest, true
	}
	return relay.Newest{}, false
}

func (n *newest) answer(r relay.NewestRequest) relay.NewestReply {
	n.mu.Lock()
	defer n.mu.Unlock()
	reply := relay.NewestReply{Known: n.known, Version: n.version}
	for _, p := range r.Places[:min(len(r.Places), relay.MaxPlaces)] {
		if e, ok := n.places[p]; ok {
			reply.Newest = append(reply.Newest, spotAt(e).Newest)
		}
	}
	if r.Follow {
		n.follow(r.Since, &reply)
	}
	return reply
}

// follow adds the places that have changed after a version, in order.
func (n *newest) follow(since uint64, reply *relay.NewestReply) {
	e := n.changed.Back()
	if e == nil || spotAt(e).version <= since {
		return
	}
	for e.Prev() != nil && spotAt(e.Prev()).version > since {
		e = e.Prev()
	}
	for ; e != nil; e = e.Next() {
		if len(reply.Newest) >= relay.MaxChanges {
			reply.More = true
			return
		}
		reply.Newest, reply.Version = append(reply.Newest, spotAt(e).Newest), spotAt(e).version
	}
	reply.Version = n.version
}

// complete: everything that was in the journal at the start is entered.
func (n *newest) complete() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.known = true
}

// openNewest answers the drains; without a latest route there is nothing to
// remember, and nothing is newer than anything.
func (b *Broker) openNewest(context.Context) error {
	for _, destination := range destinations(b.options.Queues) {
		sub, err := b.nc.Subscribe(newestSubject(destination), func(msg *nats.Msg) { b.answerNewest(destination, msg) })
		if err != nil {
			return err
		}
		b.later(func() { _ = sub.Unsubscribe() }) // the connection is closed next
	}
	return nil
}

func (b *Broker) answerNewest(destination string, msg *nats.Msg) {
	reply := nats.NewMsg(msg.Reply)
	var r relay.NewestRequest
	err := json.Unmarshal(msg.Data, &r)
	n := b.newest.of(r.Queue)
	if err == nil && (n == nil || n.queue.Destination != destination) {
		err = errors.New("no queue of this destination has that token")
	}
	if err == nil {
		answer := n.answer(r)
		answer.Newest = b.lasting(n.queue, answer.Newest)
		reply.Data, err = json.Marshal(answer)
	}
	if err != nil {
		reply.Header.Set(hdrRefusal, relay.Excerpt([]byte(err.Error())))
	}
	if err := b.nc.PublishMsg(reply); err != nil {
		b.log.Warn().Err(err).Msg("a drain did not get its answer")
	}
}

// lasting leaves those that will be, or were, delivered: one that was cancelled
// or has died replaces nothing.
func (b *Broker) lasting(q relay.Queue, found []relay.Newest) []relay.Newest {
	b.accounts[q.Destination].view(q, func(l *relay.Ledger) {
		found = slices.DeleteFunc(found, func(n relay.Newest) bool {
			state := l.State(n.Sequence)
			return state.Settled() && state != relay.Delivered
		})
	})
	return found
}

// recollect reads the journal after a start, then forgets what is settled, until
// ctx ends.
func (b *Broker) recollect(ctx context.Context, n *newest) {
	if len(n.routes) == 0 {
		n.complete()
		return
	}
	for !b.reread(ctx, n) {
		if !rest(ctx, rereadInterval) {
			return
		}
	}
	for rest(ctx, pruneInterval) {
		var floor uint64
		b.accounts[n.queue.Destination].view(n.queue, func(l *relay.Ledger) { floor = l.Floor() })
		if left := n.prune(floor); left > 0 {
			b.log.Warn().Str("queue", n.queue.String()).Uint64("places", left).Int("limit", n.limit).
				Msg("too many hosts have something waiting to remember the newest of each: those that were left out are delivered one by one")
		}
	}
}

// reread enters what the journal held at the start and is not settled; false when
// it failed. What comes in meanwhile is entered when it is accepted.
func (b *Broker) reread(ctx context.Context, n *newest) bool {
	err := b.rereadJournal(ctx, n)
	if err != nil && ctx.Err() == nil {
		b.log.Warn().Err(err).Str("queue", n.queue.String()).Msg("reading what is the newest of each host failed; reading again")
	}
	if err == nil {
		n.complete()
	}
	return err == nil
}

func (b *Broker) rereadJournal(ctx context.Context, n *newest) error {
	stream := journalStream(n.queue)
	state, err := b.streamState(ctx, stream)
	if err != nil {
		return err
	}
	if err := b.sync(ctx); err != nil { // a process that was killed may have left what is written and not on the disk
		return err
	}
	var floor uint64
	b.accounts[n.queue.Destination].view(n.queue, func(l *relay.Ledger) { floor = l.Floor() })
	for _, route := range n.routes {
		err := b.walk(ctx, stream, messageFilters(n.queue.Token(), "", route), floor+1, func(s *stored) bool {
			if s.sequence > state.LastSeq {
				return false
			}
			if m, err := s.message(); err == nil { // else it is never delivered
				n.stored(m)
			}
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// rest waits; false when ctx ended.
func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

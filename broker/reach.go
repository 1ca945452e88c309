package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/theforeman/foreman-relay/relay"
)

// The reach of a queue is a sequence above which no attempt was ever begun. It
// is on the disk before an attempt is, so that after a power cut it is known
// which messages may have been delivered without a record of it: those up to it
// that the record does not settle. A drain asks the edge to raise it, far ahead,
// once for many messages.

// reachStep is how many messages one raise covers. But for an urgent message far
// ahead, which raises it over all before it, it bounds what audit names
// needlessly after a power cut; a raise costs a request and a barrier.
const reachStep = 1024

// reachRequest is what a drain asks, and the answer.
type reachRequest struct {
	Queue    string `json:"queue"` // token
	Sequence uint64 `json:"sequence"`
}

type reachReply struct {
	Through uint64 `json:"through"`
}

// reaches is the edge's side.
type reaches struct {
	b    *Broker
	subs []*nats.Subscription

	mu sync.Mutex // held while one is stored: the next one finds it
	at map[string]uint64
}

func openReaches(ctx context.Context, b *Broker) (*reaches, error) {
	r := &reaches{b: b}
	if err := r.anew(ctx); err != nil {
		return nil, err
	}
	for _, destination := range destinations(b.options.Queues) {
		sub, err := b.nc.Subscribe(reachSubject(destination), func(msg *nats.Msg) { r.answer(destination, msg) })
		if err != nil {
			return nil, fmt.Errorf("listen for drains: %w", err)
		}
		r.subs = append(r.subs, sub)
	}
	return r, nil
}

// anew reads what is stored.
func (r *reaches) anew(ctx context.Context) error {
	at := map[string]uint64{}
	for token, q := range r.b.queues() {
		var err error
		if at[token], err = r.b.storedReach(ctx, q); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = at
	return nil
}

// add reads what is stored of one queue.
func (r *reaches) add(ctx context.Context, q relay.Queue) error {
	at, err := r.b.storedReach(ctx, q)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at[q.Token()] = at
	return nil
}

func (r *reaches) close() {
	for _, s := range r.subs {
		_ = s.Unsubscribe() // the connection is closed next
	}
}

// storedReach is the reach of a queue on the disk.
func (b *Broker) storedReach(ctx context.Context, q relay.Queue) (uint64, error) {
	entry, err := b.kv.Get(ctx, reachKey(q))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reach of %s: %w", q, err)
	}
	reach, err := strconv.ParseUint(string(entry.Value()), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reach of %s: %w", q, err)
	}
	return reach, nil
}

func (r *reaches) answer(destination string, msg *nats.Msg) {
	reply := nats.NewMsg(msg.Reply)
	through, err := r.raise(destination, msg.Data)
	if err == nil {
		reply.Data, err = json.Marshal(reachReply{through})
	}
	if err != nil {
		reply.Header.Set(hdrRefusal, relay.Excerpt([]byte(err.Error())))
	}
	if err := r.b.nc.PublishMsg(reply); err != nil {
		r.b.log.Warn().Err(err).Msg("a drain did not get its answer")
	}
}

// raise stores a reach that covers what was asked for, if there is none yet.
func (r *reaches) raise(destination string, asked []byte) (uint64, error) {
	var request reachRequest
	if err := json.Unmarshal(asked, &request); err != nil {
		return 0, err
	}
	q, known := r.b.queues()[request.Queue]
	if !known || q.Destination != destination {
		return 0, fmt.Errorf("there is no queue %q for %s", request.Queue, destination)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if request.Sequence+reachStep/2 <= r.at[request.Queue] {
		return r.at[request.Queue], nil
	}
	if err := r.b.health.admit(); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	ctx, loose := r.b.health.bound(ctx)
	defer loose()
	next := request.Sequence + reachStep
	if _, err := r.b.kv.Put(ctx, reachKey(q), strconv.AppendUint(nil, next, 10)); err != nil {
		return 0, fmt.Errorf("store how far attempts go: %w", err)
	}
	if err := r.b.sync(ctx); err != nil {
		return 0, err
	}
	r.at[request.Queue] = next
	return next, nil
}

// reach is the drain's side: how far the edge has let it go.
type reach struct {
	through atomic.Uint64
	asking  atomic.Bool // ahead of time, beside the attempts
	mu      sync.Mutex  // one asks, the others wait
}

// reachTo returns when an attempt of this sequence may begin. It asks before
// that is needed, so that nobody waits for it in a steady flow.
func (j *journal) reachTo(ctx context.Context, sequence uint64) error {
	through := j.reach.through.Load()
	switch {
	case sequence+reachStep/2 <= through:
		return nil
	case sequence > through:
		j.reach.mu.Lock()
		defer j.reach.mu.Unlock()
		if sequence <= j.reach.through.Load() {
			return nil
		}
		return j.askReach(ctx, sequence)
	case j.reach.asking.CompareAndSwap(false, true):
		go func() {
			defer j.reach.asking.Store(false)
			_ = j.askReach(context.WithoutCancel(ctx), sequence) // it is asked again when it is needed
		}()
	}
	return nil
}

func (j *journal) askReach(ctx context.Context, sequence uint64) error {
	ctx, cancel, err := j.c.call(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	body, err := json.Marshal(reachRequest{j.token, sequence})
	if err != nil {
		return err
	}
	var reply reachReply
	if err := j.c.ask(ctx, reachSubject(j.queue.Destination), body, &reply); err != nil {
		return fmt.Errorf("ask the edge whether an attempt of %d may begin: %w", sequence, err)
	}
	j.reach.through.Store(reply.Through)
	return nil
}

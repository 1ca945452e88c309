package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/theforeman/foreman-relay/relay"
)

// longestAttempt bounds what a drain may say of its attempts: so long, whoever comes
// after it has to wait.
const longestAttempt = time.Hour

// maxInstance bounds the names of a drain and of its run, which are kept with each
// lease, in bytes.
const maxInstance = 255

// leases answers the drains: who drains which queue. Who holds a lease is
// stored by compare-and-set, behind a barrier; renewals are remembered only,
// and a start takes every stored lease as renewed just now.
type leases struct {
	b    *Broker
	run  string // names this run of the edge
	subs []*nats.Subscription

	mu      sync.Mutex
	answers uint64           // given so far
	slots   map[string]*slot // by queue token
}

type slot struct {
	queue    relay.Queue
	lease    relay.Lease
	revision uint64
	unsure   bool // whether the last one was stored is not known
	status   relay.DrainStatus
	breaker  string
	down     string       // why the circuit is not closed
	since    time.Time    // since when, by the edge's clock; zero while it is closed
	pause    *relay.Pause // nil: not paused
	hold     *heed        // of a hold; nil: none
	pausing  *heed        // of the last pause
}

func openLeases(ctx context.Context, b *Broker) (*leases, error) {
	l := &leases{b: b, run: nuid.Next(), slots: map[string]*slot{}}
	for token, q := range b.queues() {
		s, err := l.open(ctx, q)
		if err != nil {
			return nil, err
		}
		l.slots[token] = s
	}
	for _, destination := range destinations(b.options.Queues) {
		sub, err := b.nc.Subscribe(leaseSubject(destination), func(msg *nats.Msg) { l.answer(destination, msg) })
		if err != nil {
			return nil, fmt.Errorf("listen for drains: %w", err)
		}
		l.subs = append(l.subs, sub)
	}
	return l, nil
}

// open reads what is stored of a queue.
func (l *leases) open(ctx context.Context, q relay.Queue) (*slot, error) {
	s := &slot{queue: q}
	if err := l.read(ctx, s); err != nil {
		return nil, err
	}
	pause, err := l.readPause(ctx, q)
	s.pause = pause
	return s, err
}

// admit takes up a queue: drains learn of it, and operators find it, from here on.
func (l *leases) admit(s *slot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slots[s.queue.Token()] = s
	l.b.addQueue(s.queue)
}

// read takes over what is stored of a lease.
func (l *leases) read(ctx context.Context, s *slot) error {
	entry, err := l.b.kv.Get(ctx, leaseKey(s.queue))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		s.unsure = false
		return nil
	}
	if err != nil {
		return fmt.Errorf("lease of %s: %w", s.queue, err)
	}
	if entry.Revision() == s.revision {
		s.unsure = false
		return nil
	}
	var stored relay.Lease
	if err := json.Unmarshal(entry.Value(), &stored); err != nil {
		return fmt.Errorf("lease of %s: %w", s.queue, err)
	}
	s.lease, s.revision, s.unsure = stored, entry.Revision(), false
	s.lease.Renewed = time.Now()
	return nil
}

// anew is for a server that was started anew: a lease may have been stored
// without our knowing, and the drains have to read their record again.
func (l *leases) anew(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.slots {
		if err := l.read(ctx, s); err != nil {
			return err
		}
		pause, err := l.readPause(ctx, s.queue) // so may a pause, or its end
		if err != nil {
			return err
		}
		s.pause = pause
	}
	l.run = nuid.Next()
	return nil
}

// suspend answers no drain until anew: what it would be told of the run is about
// to become wrong.
func (l *leases) suspend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.run = ""
}

func (l *leases) close() {
	for _, s := range l.subs {
		_ = s.Unsubscribe() // the connection is closed next
	}
}

func (l *leases) answer(destination string, msg *nats.Msg) {
	reply := nats.NewMsg(msg.Reply)
	var request relay.LeaseRequest
	err := json.Unmarshal(msg.Data, &request)
	if err == nil && (request.Instance == "" || request.Session == "" || len(request.Instance) > maxInstance || len(request.Session) > maxInstance) {
		err = fmt.Errorf("instance and session must be given, with %d bytes at most", maxInstance)
	}
	if err == nil && (request.LongestAttempt < 0 || request.LongestAttempt > longestAttempt) {
		err = fmt.Errorf("an attempt must not take longer than %v", longestAttempt)
	}
	if err == nil {
		reply.Data, err = l.reply(destination, request)
	}
	if err == nil { // what is wrong with its keys takes no lease from it
		if err := l.b.recipients.hear(destination, request); err != nil {
			l.b.log.Warn().Err(err).Str("drain", request.Instance).Msg("the keys of a drain are not taken")
		}
	}
	if err != nil {
		reply.Header.Set(hdrRefusal, relay.Excerpt([]byte(err.Error())))
	}
	if err := l.b.nc.PublishMsg(reply); err != nil {
		l.b.log.Warn().Err(err).Msg("a drain did not get its answer")
	}
}

// errBetweenRuns: the store is being started anew.
var errBetweenRuns = errors.New("the edge's store is being started anew")

func (l *leases) reply(destination string, r relay.LeaseRequest) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.run == "" {
		return nil, errBetweenRuns
	}
	return json.Marshal(l.grant(destination, r))
}

// grant is for holders of mu.
func (l *leases) grant(destination string, r relay.LeaseRequest) relay.LeaseReply {
	l.answers++
	reply := relay.LeaseReply{TTL: relay.LeaseTTL, Edge: l.run, Run: l.b.run.Load(), Answer: l.answers}
	heeded := uint64(0)
	if r.Edge == l.run {
		heeded = r.Answer
	}
	for token, s := range l.slots {
		if s.queue.Destination != destination {
			continue
		}
		next, granted, wait, store := s.lease.Decide(r, time.Now())
		if store && l.b.health.admit() != nil {
			reply.Grants = append(reply.Grants, relay.Grant{Queue: s.queue, Wait: time.Second})
			continue
		}
		if store {
			if err := l.save(s, next); err != nil {
				l.b.log.Error().Err(err).Str("queue", s.queue.String()).Msg("a lease could not be stored")
				reply.Grants = append(reply.Grants, relay.Grant{Queue: s.queue, Wait: time.Second})
				continue
			}
		}
		s.lease = next
		if granted {
			s.heard(r, r.Queues[token])
			if wait == 0 { // else attempts of the holder before may be under way
				s.hold.tell(r.Session, reply.Answer, heeded)
			}
			s.pausing.tell(r.Session, reply.Answer, heeded)
		}
		g := relay.Grant{Queue: s.queue, Granted: granted, Epoch: next.Epoch, Wait: wait,
			Paused: s.pause != nil || l.b.accounts[destination].pausing(s.queue) || l.b.withheld(s.queue) != nil, Hold: s.hold != nil}
		o, _ := l.b.KnownOrganization(s.queue.Organization)
		g.Weight = o.Weight
		if granted {
			l.b.accounts[destination].tellUrgent(&g, r.Queues[token])
		}
		reply.Grants = append(reply.Grants, g)
	}
	reply.Now = time.Now()
	return reply
}

// nudge has the drains of a destination ask at once.
func (l *leases) nudge(destination string) {
	if err := l.b.nc.Publish(nudgeSubject(destination), nil); err != nil {
		l.b.log.Debug().Err(err).Msg("the drains learn of the news with their next renewal")
	}
}

// heard keeps what the holder says of itself.
func (s *slot) heard(r relay.LeaseRequest, status relay.DrainStatus) {
	s.status, s.breaker, s.down, s.since = status, r.Breaker, "", time.Time{}
	if r.DownFor > 0 {
		s.down, s.since = relay.Excerpt([]byte(r.Down)), time.Now().Add(-r.DownFor)
	}
}

func (l *leases) save(s *slot, next relay.Lease) error {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	ctx, loose := l.b.health.bound(ctx)
	defer loose()
	if s.unsure {
		if err := l.read(ctx, s); err != nil {
			return err
		}
		return errors.New("the lease was read again; it is decided when the drain asks again")
	}
	value, err := json.Marshal(next)
	if err != nil {
		return err
	}
	revision, err := l.b.kv.Update(ctx, leaseKey(s.queue), value, s.revision)
	if err != nil {
		s.unsure = true
		return err
	}
	s.revision = revision
	l.b.log.Info().Str("queue", s.queue.String()).Str("drain", next.Instance).Uint64("epoch", next.Epoch).
		Bool("released", next.Released).Msg("lease")
	return l.b.sync(ctx)
}

// holder is who drains a queue now, for operators: a copy of its slot.
func (l *leases) holder(q relay.Queue) (s slot, held bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s = *l.slots[q.Token()]
	held = s.lease.Held(time.Now()) && s.breaker != ""
	if !held {
		s.lease, s.status, s.breaker, s.down, s.since = relay.Lease{}, relay.DrainStatus{}, "unknown", "", time.Time{}
	}
	return s, held
}

package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

// The queues of a relay are those of the configuration and, for each organization
// that is stored, one for each destination in use. There come more while it runs,
// and none goes.

// queues are all queues by token, as they are now.
func (b *Broker) queues() map[string]relay.Queue { return b.byToken.all() }

func (b *Broker) addQueue(q relay.Queue) {
	b.byToken.put(q.Token(), q)
	b.known.put(q, true)
}

// prepare is what a queue has before anything of it is read.
func (b *Broker) prepare(q relay.Queue) error {
	b.crowds.put(q, &crowd{})
	b.newest.put(q.Token(), newNewest(q, b.options.Latest, b.options.places))
	return b.objects.open(q)
}

// queuesOf are the queues that an organization has, or is to have.
func (b *Broker) queuesOf(organization string) []relay.Queue {
	var all []relay.Queue
	for _, d := range destinations(b.options.Queues) {
		all = append(all, relay.Queue{Organization: organization, Destination: d})
	}
	return all
}

// missing are the queues of an organization that are not open.
func (b *Broker) missing(organization string) []relay.Queue {
	return slices.DeleteFunc(b.queuesOf(organization), b.Known)
}

func (b *Broker) takeQueues(queues []relay.Queue) error {
	for _, q := range queues {
		if err := CheckQueue(q); err != nil {
			return err
		}
		if other, taken := b.queues()[q.Token()]; taken && other != q {
			return fmt.Errorf("queues %s and %s have the same token; rename one", other, q)
		}
		b.addQueue(q)
	}
	return nil
}

// joinQueues takes up the queues of the document, and lets the far drains in: only
// now it is known for which destinations there are any.
func (b *Broker) joinQueues(ctx context.Context) error {
	if b.options.Joined != nil {
		record, _, err := b.Handshake(ctx)
		if err != nil {
			return err
		}
		more := slices.DeleteFunc(b.options.Joined(record.Document), b.Known)
		if err := b.takeQueues(more); err != nil {
			return err
		}
		if len(more) > 0 {
			b.options.Queues = append(slices.Clone(b.options.Queues), more...)
			if err := b.server.admitDrains(b.options.Queues); err != nil {
				return err
			}
			if err := b.server.allow(b.options.Queues); err != nil {
				return err
			}
		}
	}
	if b.guard != nil {
		b.guard.serve(b.server, b.checkEvent)
	}
	return nil
}

// openOrganizations reads the organizations and takes up their queues, before any
// is opened.
func (b *Broker) openOrganizations(ctx context.Context) error {
	if err := b.loadOrganizations(ctx); err != nil {
		return err
	}
	before := len(b.queues())
	for name := range b.organizations.all() {
		for _, q := range b.missing(name) {
			if other, taken := b.queues()[q.Token()]; taken {
				return fmt.Errorf("queues %s and %s have the same token; rename one", other, q)
			}
			b.addQueue(q)
		}
	}
	if len(b.queues()) == before {
		return nil
	}
	return b.server.allow(slices.Collect(maps.Values(b.queues())))
}

// growAnew takes up what was stored without our knowing, on a server that was
// started anew.
func (b *Broker) growAnew(ctx context.Context) error {
	if err := b.loadOrganizations(ctx); err != nil {
		return err
	}
	for name := range b.organizations.all() {
		if err := b.grow(ctx, b.missing(name)); err != nil {
			return err
		}
	}
	return nil
}

// errStopping: nothing is begun any more.
var errStopping = &relay.Error{Code: relay.CodeUnavailable, Detail: "the relay is being stopped; nothing was stored"}

// grow opens queues while the others are in use; for holders of growth. What they
// hold already, since their organization was known before, is read as at a start.
func (b *Broker) grow(ctx context.Context, queues []relay.Queue) error {
	if len(queues) == 0 {
		return nil
	}
	if b.beside == nil {
		return errStopping
	}
	if _, err := b.ensureStreams(ctx, queues); err != nil {
		return err
	}
	if err := b.server.allow(append(slices.Collect(maps.Values(b.queues())), queues...)); err != nil {
		return err
	}
	for _, q := range queues {
		s, err := b.openQueue(ctx, q)
		if err != nil {
			return fmt.Errorf("open queue %s: %w", q, err)
		}
		b.leases.admit(s)
		b.leases.nudge(q.Destination)
		b.log.Info().Str("queue", q.String()).Msg("there is a new queue")
	}
	return nil
}

// openQueue does for one queue what a start does for all, and returns what the
// leases are to know of it.
func (b *Broker) openQueue(ctx context.Context, q relay.Queue) (*slot, error) {
	state, err := b.streamState(ctx, journalStream(q))
	if err != nil {
		return nil, err
	}
	ended := relay.ReasonStopped
	if state.LastSeq > 0 { // of a run before, and how that ended nobody has noted
		ended = relay.ReasonCutOff
	}
	if err := b.markQueue(ctx, q, b.run.Load(), ended); err != nil {
		return nil, err
	}
	if err := b.accounts[q.Destination].add(ctx, q); err != nil {
		return nil, err
	}
	if err := b.prepare(q); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context, relay.Queue) error{b.openAgenda, b.mendTail, b.reaches.add} {
		if err := step(ctx, q); err != nil {
			return nil, err
		}
	}
	s, err := b.leases.open(ctx, q)
	if err != nil {
		return nil, err
	}
	b.beside(func(ctx context.Context) { b.recollect(ctx, b.newest.of(q.Token())) })
	return s, b.sync(ctx)
}

// growTimeout bounds what one change of an organization may take.
const growTimeout = 30 * time.Second

// growRetry is the pause before what a change has left undone is tried again.
const growRetry = time.Second

// boundGrowth bounds a change: by time, by the store, and by the end of the relay.
func (b *Broker) boundGrowth(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, b.options.growTimeout)
	ctx, loose := b.health.bound(ctx)
	stop := context.AfterFunc(b.life, cancel)
	return ctx, func() { stop(); loose(); cancel() }
}

// growLater has an organization get what a change that failed has left undone: it
// may be stored, and have no queue yet. For holders of growth.
func (b *Broker) growLater(name string) {
	b.behind[name] = true
	if len(b.behind) > 1 { // it is being tried already
		return
	}
	b.beside(func(ctx context.Context) {
		for rest(ctx, growRetry) && !b.caughtUp() {
		}
	})
}

// caughtUp does what is left undone, and says whether that was all.
func (b *Broker) caughtUp() bool {
	b.growth.Lock()
	defer b.growth.Unlock()
	if b.beside == nil {
		return true
	}
	for name := range b.behind {
		if b.health.admit() != nil {
			return false
		}
		if err := b.catchUp(name); err != nil {
			b.log.Warn().Err(err).Str("organization", name).Msg("an organization has not got its queues and limits yet; trying again")
			return false
		}
		delete(b.behind, name)
	}
	return true
}

// catchUp has the queues of an organization be as what is stored of it says.
func (b *Broker) catchUp(name string) error {
	ctx, cancel := b.boundGrowth(context.Background())
	defer cancel()
	err := b.readOrganization(ctx, name)
	switch {
	case errors.Is(err, errNotFound): // it was not stored
		return nil
	case err != nil:
		return err
	}
	if err := b.sync(ctx); err != nil {
		return err
	}
	if err := b.grow(ctx, b.missing(name)); err != nil {
		return err
	}
	return b.limit(ctx, name)
}

// stopGrowing ends growth before the end of what runs beside the requests.
func (b *Broker) stopGrowing() {
	b.growth.Lock()
	defer b.growth.Unlock()
	b.beside = nil
}

package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/theforeman/foreman-relay/relay"
)

// Options open a Broker.
type Options struct {
	StateDir   string
	Durability Mode
	Queues     []relay.Queue // default/foreman among them; those of further organizations come to them
	// Joined are the further queues that Foreman's document asks for, which is read
	// at the start; nil: none. It leaves out what cannot be a queue.
	Joined func(relay.Handshake) []relay.Queue
	Listen *ListenOptions

	QuotaBytes     int64         // of each queue's journal
	DeadQuotaBytes int64         // of each organization's dead letters
	JournalWindow  time.Duration // how long settled messages stay in the journal
	RecordWindow   time.Duration // how long events and settled keys are kept
	ReserveBytes   int64         // of the disk; 0: chosen by Reserve, -1: none
	MaxWaiting     int           // requests that may wait for the disk at one time; more are refused
	Latest         []string      // routes of whose waiting messages only the newest is delivered

	Switch           *SwitchOptions // nil: reports of Foreman's switch are refused
	MaxOrganizations int            // more are refused
	OffQueues        OffQueues      // what becomes of the queues of an organization that is off

	MaxUploads int // large bodies that may be stored at one time; more are refused
	// Credential is what the document has sealed for a queue now: a letter that was
	// accepted with such a one is replayed with it. Nil: there are none.
	Credential func(relay.Queue) string
	// Routes say what may be changed in a letter that is replayed; none: headers
	// that travel in any case, and bodies.
	Routes []relay.Route
	// Buried is told of every new dead letter, without its body, and of the id of
	// the request that its message came with; nil: nobody is. It must not wait.
	Buried func(l relay.DeadLetter, requestID string)

	Log zerolog.Logger

	flush         func() error  // tests only: the barrier's sync, whatever the filesystem
	acceptTimeout time.Duration // tests only: another than that of accept.go
	growTimeout   time.Duration // tests only: another than that of queues.go
	places        int           // tests only: another bound than DefaultPlaces
}

// Defaults of Options.
const (
	DefaultQuotaBytes     = 10 << 30
	DefaultDeadQuotaBytes = 1 << 30
	DefaultJournalWindow  = 24 * time.Hour
	DefaultRecordWindow   = 7 * 24 * time.Hour
)

func (o *Options) complete() {
	if o.Durability == "" {
		o.Durability = ModeFsync
	}
	o.QuotaBytes = orElse(o.QuotaBytes, DefaultQuotaBytes)
	o.DeadQuotaBytes = orElse(o.DeadQuotaBytes, DefaultDeadQuotaBytes)
	o.JournalWindow = orElse(o.JournalWindow, DefaultJournalWindow)
	o.RecordWindow = orElse(o.RecordWindow, DefaultRecordWindow)
	o.MaxWaiting = orElse(o.MaxWaiting, DefaultWaiting)
	o.MaxUploads = orElse(o.MaxUploads, DefaultUploads)
	o.MaxOrganizations = orElse(o.MaxOrganizations, DefaultOrganizations)
	o.OffQueues = orElse(o.OffQueues, OffDrain)
	o.acceptTimeout = orElse(o.acceptTimeout, acceptTimeout)
	o.growTimeout = orElse(o.growTimeout, growTimeout)
	o.places = orElse(o.places, DefaultPlaces)
}

func orElse[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

// Broker is the edge's side of the queues. It owns the state directory from
// Open to Close.
type Broker struct {
	options Options
	log     zerolog.Logger
	choice  Choice

	growth        sync.Mutex                    // held while queues or organizations change, and while the store is started anew
	byToken       growing[string, relay.Queue]  // the queues
	known         growing[relay.Queue, bool]    // the same
	organizations growing[string, organization] // by name
	behind        map[string]bool               // organizations of which a change was left undone
	rules         atomic.Pointer[[]relay.IdentityRule]

	lock     *DirLock
	marker   *Marker
	dir      *os.File // kept open: its descriptor is what the barrier syncs
	barrier  *Barrier
	server   *embedded
	guard    *guard // nil: no drain dials in
	nc       *nats.Conn
	door     *nats.Conn // what requests from outside come to: it stores, and reads nothing
	js       jetstream.JetStream
	kv       jetstream.KeyValue
	keys     *settledKeys
	accounts map[string]*accounts // by destination
	leases   *leases
	newest   growing[string, *newest] // by queue token
	crowds   growing[relay.Queue, *crowd]

	recipients *recipients
	blinding   blinding

	reaches  *reaches
	switches *switches
	run      atomic.Uint64 // of the edge, as drains are told
	begun    uint64        // the last run that this process has begun
	disk     *disk
	health   *health
	waiting  atomic.Int64 // requests that wait for the disk
	house    *housekeeper
	beside   func(func(context.Context)) // runs something beside the requests until Close, which waits for it; nil: closed, or not open yet
	life     context.Context             //nolint:containedctx // of what runs beside; it ends before growth does
	auditing chan struct{}               // holds one: the audit under way
	objects  *objects
	undo     []func() // what Close does, last in first out
	closing  sync.Once

	importing sync.Mutex // one letter at a time: looking for it and storing it are one
}

// Open locks the state directory, starts the embedded broker, recovers every
// stream and account, and returns when messages can be accepted.
func Open(ctx context.Context, o Options) (*Broker, error) {
	o.complete()
	b := &Broker{options: o, log: o.Log, accounts: map[string]*accounts{}, behind: map[string]bool{},
		health: newHealth(o.Log), auditing: make(chan struct{}, 1)}
	if err := b.takeQueues(o.Queues); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{b.openDir, b.openServer, b.openBucket, b.joinQueues, b.openOrganizations, b.openObjects, b.openStreams, b.openRun, b.storeOrganizations, b.openAccounts, b.openAgendas, b.mendTails, b.openNewest, b.openHouse, b.tellUnlisted} {
		if err := step(ctx); err != nil {
			b.Close()
			return nil, err
		}
	}
	return b, nil
}

// openDir takes the directory and decides what `accepted` means on it.
func (b *Broker) openDir(context.Context) error {
	dir := b.options.StateDir
	var err error
	if b.lock, err = LockDir(dir); err != nil {
		return err
	}
	b.later(func() { _ = b.lock.Unlock() }) // the kernel unlocks in any case
	facts, err := Probe(dir)
	if err != nil {
		return fmt.Errorf("look at the filesystem of %s: %w", dir, err)
	}
	if b.choice, err = Choose(b.options.Durability, facts); err != nil {
		return err
	}
	if err := b.reverify(dir); err != nil {
		return err
	}
	if b.dir, err = OpenStateDir(dir); err != nil {
		return err
	}
	b.later(func() { _ = b.dir.Close() }) // only its descriptor was used
	b.barrier = NoBarrier(BarrierOnFailure(b.mark))
	flush := b.options.flush
	if flush == nil && b.choice.Effective == ModeBarrier {
		flush = SyncFS(b.dir)
	}
	if flush != nil {
		b.barrier = NewBarrier(flush, BarrierOnFailure(b.mark))
	}
	b.later(func() {
		if err := b.barrier.Close(); err != nil {
			b.log.Error().Err(err).Msg("the last barrier failed")
		}
	})
	return nil
}

// reverify does what a failed barrier of the last run asks for, then arms the
// marker for this one.
func (b *Broker) reverify(dir string) error {
	failed, err := CheckMarker(dir)
	if err != nil {
		return err
	}
	if failed {
		b.log.Warn().Msg("the last run ended with a failed write to the disk; reading everything from the disk again")
		if err := Reverify(dir); err != nil {
			return fmt.Errorf("the disk below %s still fails, nothing is accepted on it: %w", dir, err)
		}
	}
	b.marker, err = NewMarker(dir)
	if err != nil {
		return err
	}
	b.later(func() { _ = b.marker.Close() }) // nothing is written at close
	return nil
}

func (b *Broker) openServer(ctx context.Context) error {
	var err error
	if b.options.Listen != nil { // a wrong address is told before anything is started
		if b.guard, err = openGuard(ctx, *b.options.Listen, b.log); err != nil {
			return err
		}
		b.later(b.guard.close)
	}
	if b.server, err = startServer(ctx, b.options.StateDir, b.choice.Effective == ModeAlways, b.options.Queues, b.log); err != nil {
		return err
	}
	b.later(b.server.stop)
	if b.nc, err = b.server.connect("edge", b.server.edge); err != nil {
		return err
	}
	b.later(b.nc.Close)
	if b.door, err = b.server.connect("door", b.server.door, nats.CustomInboxPrefix(doorInbox)); err != nil {
		return err
	}
	b.later(b.door.Close)
	b.js, err = jetstream.New(b.nc)
	return err
}

func (b *Broker) openStreams(ctx context.Context) error {
	made, err := b.ensureStreams(ctx, slices.Collect(maps.Values(b.queues())))
	if err != nil {
		return err
	}
	if made {
		return b.sync(ctx)
	}
	return nil
}

func (b *Broker) openBucket(ctx context.Context) error {
	made := false
	kv, err := b.js.KeyValue(ctx, kvBucket) // an update would write, and the disk may be full
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		made = true
		kv, err = b.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: kvBucket, History: 1, Storage: jetstream.FileStorage})
	}
	if err != nil {
		return fmt.Errorf("the key-value bucket: %w", err)
	}
	if b.kv == nil { // after a restart of the server the old one is as good, and others use it
		b.kv = kv
	}
	if made {
		return b.sync(ctx)
	}
	return nil
}

func (b *Broker) openAccounts(ctx context.Context) error {
	b.keys = newSettledKeys(b.options.RecordWindow)
	for _, destination := range destinations(b.options.Queues) {
		if err := b.keys.load(ctx, b.nc, destination); err != nil {
			return fmt.Errorf("settled keys of %s: %w", destination, err)
		}
		a := newAccounts(destination, b.nc, b.js, b.keys, b.log)
		if err := a.open(ctx, slices.Collect(maps.Values(b.queues()))); err != nil {
			return err
		}
		b.accounts[destination] = a
	}
	return nil
}

// openHouse starts what runs beside the requests.
func (b *Broker) openHouse(ctx context.Context) error {
	b.disk = newDisk(b.options.StateDir, b.options.ReserveBytes, b.log)
	var err error
	if b.recipients, err = openRecipients(ctx, b); err != nil {
		return err
	}
	if b.leases, err = openLeases(ctx, b); err != nil {
		return err
	}
	if b.reaches, err = openReaches(ctx, b); err != nil {
		return err
	}
	if b.switches, err = openSwitches(b); err != nil {
		return err
	}
	b.house = newHousekeeper(b)
	if err := b.objects.serve(); err != nil {
		return err
	}
	for _, a := range b.accounts {
		a.notify = b.house.wake
	}
	run, cancel := context.WithCancel(context.Background())
	b.life = run
	var loops sync.WaitGroup
	b.beside = func(f func(context.Context)) { loops.Go(func() { f(run) }) }
	loops.Go(func() { b.watch(run) })
	loops.Go(func() { b.timekeeper(run) })
	if b.guard != nil {
		loops.Go(func() { b.guard.watch(run) })
	}
	for _, a := range b.accounts {
		loops.Go(func() { a.follow(run) })
	}
	for _, n := range b.newest.all() {
		b.beside(func(ctx context.Context) { b.recollect(ctx, n) })
	}
	loops.Go(func() { b.house.run(run) })
	b.later(func() {
		b.leases.close()
		b.reaches.close()
		b.switches.close()
		cancel() // who grows, or starts the store anew, would hold up the end
		b.stopGrowing()
		loops.Wait()
		b.endRun()
	})
	return nil
}

func (b *Broker) later(f func()) { b.undo = append(b.undo, f) }

// Close settles what is under way, writes checkpoints, stops the broker and
// gives the directory back. Idempotent.
func (b *Broker) Close() {
	b.closing.Do(func() {
		for i := len(b.undo) - 1; i >= 0; i-- {
			b.undo[i]()
		}
	})
}

// Failed is closed when a barrier has failed: what was promised can no longer
// be kept, and the process must end.
func (b *Broker) Failed() <-chan struct{} { return b.barrier.Failed() }

// Err is why Failed is closed.
func (b *Broker) Err() error { return b.barrier.Err() }

// Durability is what `accepted` means here, and why.
func (b *Broker) Durability() Choice { return b.choice }

// Address is where far drains dial to; empty when they cannot.
func (b *Broker) Address() string {
	if b.guard == nil {
		return ""
	}
	return b.guard.address()
}

// Known says whether a queue exists.
func (b *Broker) Known(q relay.Queue) bool { return b.known.of(q) }

// QueueOf is the queue of a token, with which the ids of its messages begin.
func (b *Broker) QueueOf(token string) (relay.Queue, bool) {
	q, ok := b.queues()[token]
	return q, ok
}

// Ready is nil when messages can be accepted and kept. It waits for nothing.
func (b *Broker) Ready(context.Context) error {
	select {
	case <-b.barrier.Failed():
		return fmt.Errorf("writing to the disk failed: %w", b.barrier.Err())
	default:
	}
	if err := b.health.ready(); err != nil {
		return err
	}
	if !b.nc.IsConnected() || !b.door.IsConnected() {
		return errors.New("no connection to the embedded broker")
	}
	return nil
}

// mark leaves word for the next start before anybody is told of the failure.
func (b *Broker) mark(failure error) {
	if err := b.marker.Failed(failure); err != nil {
		b.log.Error().Err(err).Msg("the failed write could not be noted for the next start")
	}
}

// sync waits until what was written before is on the disk.
func (b *Broker) sync(ctx context.Context) error { return b.barrier.Wait(ctx) }

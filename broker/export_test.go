package broker

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/theforeman/foreman-relay/relay"
)

// ChangeStream does what somebody with other tools could do to a journal.
func ChangeStream(ctx context.Context, b *Broker, q relay.Queue) error {
	s, err := b.js.Stream(ctx, journalStream(q))
	if err != nil {
		return err
	}
	c := s.CachedInfo().Config
	c.MaxMsgs = 5
	_, err = b.js.UpdateStream(ctx, c)
	return err
}

// Conn is the connection of a channel, to try what it must not do.
func Conn(c *Channel) *nats.Conn { return c.nc }

// EdgeConn is the edge's own connection.
func EdgeConn(b *Broker) *nats.Conn { return b.nc }

// Names of the topology for tests.
var (
	JournalStream = journalStream
	EventStream   = eventStream
	EventSubject  = eventSubject
)

// WithFlush puts a function in the place of syncfs, and makes the broker use the
// barrier on every filesystem.
func WithFlush(o *Options, flush func() error) { o.Durability, o.flush = ModeOS, flush }

// Events is how many events are kept for a destination.
func Events(ctx context.Context, b *Broker, destination string) (uint64, error) {
	s, err := b.streamState(ctx, eventStream(destination))
	return s.Msgs, err
}

// FirstEvent is the first one that is kept.
func FirstEvent(ctx context.Context, b *Broker, destination string) (uint64, error) {
	s, err := b.streamState(ctx, eventStream(destination))
	return s.FirstSeq, err
}

// Record stores an event as a drain does.
func Record(ctx context.Context, b *Broker, q relay.Queue, e relay.Event) error {
	_, err := recordAt(ctx, b.nc, q, e)
	return err
}

// WithPatience is how long a request may wait for the disk.
func WithPatience(o *Options, d time.Duration) { o.acceptTimeout = d }

// LoseLease forgets whether the lease of a queue was stored, as after a call that
// was not answered in time.
func LoseLease(b *Broker, q relay.Queue) {
	b.leases.mu.Lock()
	defer b.leases.mu.Unlock()
	s := b.leases.slots[q.Token()]
	s.lease, s.revision, s.unsure = relay.Lease{}, 0, true
}

// WriteTo publishes something into one of the broker's streams that is not a
// journal: events, dead letters, settled keys, or the key-value bucket.
func WriteTo(ctx context.Context, b *Broker, q relay.Queue, stream string) error {
	subject := map[string]string{"events": eventSubject(q, "none"), "dead letters": deadSubject(q, "none"),
		"keys": keysSubject(q), "key-value bucket": "$KV." + kvBucket + ".test"}[stream]
	ctx, cancel := b.health.bound(ctx)
	defer cancel()
	_, err := publish(ctx, b.nc, nats.NewMsg(subject), make([]byte, 64<<10))
	return err
}

// StoreImport is an import that ends before it is recorded, as by a crash.
func StoreImport(ctx context.Context, b *Broker, x relay.ExportedLetter) error {
	i, err := b.newImport(x)
	if err != nil {
		return err
	}
	_, err = i.accept(ctx)
	return err
}

// Dirty says whether the checkpoint of a queue lacks something.
func Dirty(b *Broker, q relay.Queue) bool {
	a := b.accounts[q.Destination]
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.books[q.Token()].dirty
}

// ForgetPause brings a queue back to where a crash leaves it that comes after an
// event and before what follows from it.
func ForgetPause(ctx context.Context, b *Broker, q relay.Queue) error {
	return errors.Join(b.purgeKey(ctx, pauseKey(q)), b.purgeKey(ctx, checkpointKey(q)))
}

// ForgetCheckpoint has the next start read every event again, as after a crash
// that came before the checkpoint.
func ForgetCheckpoint(ctx context.Context, b *Broker, q relay.Queue) error {
	return b.purgeKey(ctx, checkpointKey(q))
}

func (b *Broker) purgeKey(ctx context.Context, key string) error {
	s, err := b.js.Stream(ctx, kvStream)
	if err != nil {
		return err
	}
	return s.Purge(ctx, jetstream.WithPurgeSubject("$KV."+kvBucket+"."+key))
}

// StockWaiting fills an empty queue with messages that have been tried once, by
// an earlier drain, and wait until next: many of them in little time.
func StockWaiting(ctx context.Context, b *Broker, messages []*relay.Message, next time.Time) error {
	for i, m := range messages {
		for b.js.PublishAsyncPending() > 2000 {
			time.Sleep(time.Millisecond)
		}
		header, err := relay.EncodeEnvelope(m)
		if err != nil {
			return err
		}
		subject, err := messageSubject(m)
		if err != nil {
			return err
		}
		e := relay.Event{Sequence: uint64(i + 1), ID: m.ID, State: relay.Waiting, Attempt: 1, Reason: relay.ReasonNotReady, Next: next, Slow: 1}
		event, err := e.Encode()
		if err != nil {
			return err
		}
		for _, msg := range []*nats.Msg{{Subject: subject, Header: header, Data: m.Body}, {Subject: eventSubject(m.Queue, m.ID), Data: event}} {
			if _, err := b.js.PublishMsgAsync(msg); err != nil {
				return err
			}
		}
	}
	select {
	case <-b.js.PublishAsyncComplete():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// WithPlaces is of how many places the newest message is remembered.
func WithPlaces(o *Options, places int) { o.places = places }

// Unlearn is a broker that has not read its journal yet; Learn reads it.
func Unlearn(b *Broker, q relay.Queue) {
	n := b.newest.of(q.Token())
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.places)
	n.changed.Init()
	n.known = false
}

// Learn reads the journal as after a start.
func Learn(ctx context.Context, b *Broker, q relay.Queue) bool {
	return b.reread(ctx, b.newest.of(q.Token()))
}

// Learned says whether the broker has read its journal.
func Learned(b *Broker, q relay.Queue) bool {
	n := b.newest.of(q.Token())
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.known
}

// Places is of how many places the newest message is remembered now.
func Places(b *Broker, q relay.Queue) int {
	n := b.newest.of(q.Token())
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.places)
}

// StateDir is where a broker keeps everything.
func StateDir(b *Broker) string { return b.options.StateDir }

// What somebody with other tools, or a fault of ours, could do to a store.

// DeleteMessage removes one message of a journal.
func DeleteMessage(ctx context.Context, b *Broker, q relay.Queue, sequence uint64) error {
	s, err := b.js.Stream(ctx, journalStream(q))
	if err != nil {
		return err
	}
	return s.DeleteMsg(ctx, sequence)
}

// TrimJournal removes the messages before a sequence, settled or not.
func TrimJournal(ctx context.Context, b *Broker, q relay.Queue, keep uint64) error {
	return b.house.now(ctx, func(ctx context.Context) error { return b.house.purge(ctx, journalStream(q), keep) })
}

// RemoveLetter removes a dead letter without a word in the record.
func RemoveLetter(ctx context.Context, b *Broker, q relay.Queue, id string) error {
	return b.unbury(ctx, q, id)
}

// Bury makes a dead letter without one.
func Bury(ctx context.Context, b *Broker, q relay.Queue, e relay.Event) error {
	return b.bury(ctx, q, e, nil)
}

// ForgeLetter keeps a message as if it were the dead one of another sequence.
func ForgeLetter(ctx context.Context, b *Broker, q relay.Queue, sequence, of uint64) error {
	s, err := getOne(ctx, b.nc, apiGet(journalStream(q)), of)
	if err != nil {
		return err
	}
	m, err := s.message()
	if err != nil {
		return err
	}
	header, err := relay.EncodeEnvelope(m)
	if err != nil {
		return err
	}
	msg := &nats.Msg{Subject: deadSubject(q, m.ID), Header: header}
	msg.Header.Set(hdrDeadSequence, strconv.FormatUint(sequence, 10))
	_, err = publish(ctx, b.nc, msg, m.Body)
	return err
}

// Checkpoint stores a checkpoint now.
func Checkpoint(ctx context.Context, b *Broker, q relay.Queue) error {
	if err := b.settleGraves(ctx, q); err != nil {
		return err
	}
	return b.house.now(ctx, func(ctx context.Context) error {
		delete(b.house.next, q.Token())
		return b.house.checkpoint(ctx, q)
	})
}

// SpoilCheckpoint stores a checkpoint in which one message more is settled.
func SpoilCheckpoint(ctx context.Context, b *Broker, q relay.Queue) error {
	l, err := readLedger(ctx, b.nc, checkpointKey(q))
	if err != nil {
		return err
	}
	value, err := spoilt(l, 5).Checkpoint()
	if err != nil {
		return err
	}
	_, err = b.kv.Put(ctx, checkpointKey(q), value)
	return err
}

// SpoilAccount settles a message in the account alone.
func SpoilAccount(b *Broker, q relay.Queue, sequence uint64) {
	a := b.accounts[q.Destination]
	a.mu.Lock()
	defer a.mu.Unlock()
	a.books[q.Token()].ledger = spoilt(a.books[q.Token()].ledger, sequence)
}

// spoilt settles one message more, by no event.
func spoilt(l *relay.Ledger, sequence uint64) *relay.Ledger {
	value, err := l.Checkpoint()
	if err != nil {
		panic(err)
	}
	l.Apply(relay.Event{Sequence: sequence, State: relay.Delivered}, l.Through()+1)
	var stored, changed map[string]any
	text, _ := l.Checkpoint()
	_, _ = json.Unmarshal(value, &stored), json.Unmarshal(text, &changed) // its own text
	changed["through"] = stored["through"]
	text, _ = json.Marshal(changed)
	if l, err = relay.ReadCheckpoint(text); err != nil {
		panic(err)
	}
	return l
}

// SpoilBase stores a base that counts one message more than it knows.
func SpoilBase(ctx context.Context, b *Broker, q relay.Queue) error {
	_, err := b.kv.Put(ctx, baseKey(q), []byte(`{"version":1,"totals":{"delivered":1},"settled":"AAAAAAAAAAA=","dead":"AAAAAAAAAAA="}`))
	return err
}

// StoreUnnoticed stores a message as when the broker's acknowledgement is lost.
func StoreUnnoticed(ctx context.Context, b *Broker, m *relay.Message) error {
	return storeMessage(ctx, b.nc, m, true)
}

// PendingUrgent is how many urgent messages of a queue the edge takes for pending.
func PendingUrgent(b *Broker, q relay.Queue) uint64 {
	a := b.accounts[q.Destination]
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.books[q.Token()].agenda.urgent.GetCardinality()
}

// ObjectFiles are the files of a queue's large bodies, without their directory.
func ObjectFiles(b *Broker, q relay.Queue) []string {
	var names []string
	for name := range b.objects.of(q) {
		names = append(names, filepath.Join(b.objects.dir, name))
	}
	return names
}

// Sweep has the housekeeper remove what nobody needs of a queue, after trimming
// its journal for room.
func Sweep(ctx context.Context, b *Broker, q relay.Queue) { b.house.clear(ctx, q) }

// UseSpace makes the disk guard believe that so many more bytes are being written.
func UseSpace(b *Broker, bytes int64) { b.disk.underWay.Add(bytes) }

// Settle waits until the account has followed all events and everything that
// follows from them is done.
func Settle(ctx context.Context, b *Broker, q relay.Queue) error { return b.settleGraves(ctx, q) }

// NewObjectName is the file of an object that belongs to no message.
func NewObjectName(b *Broker, q relay.Queue) string {
	return filepath.Join(b.options.StateDir, objectsDir, objectFile(relay.FreshID(q), relay.FreshObject()))
}

// PieceSum is what follows a piece in its file.
var PieceSum = pieceSum

// PieceSize is how much of a body a piece holds.
const PieceSize = pieceSize

// WalkBatch is how much a walk asks for at one time.
const WalkBatch = walkBatch

// WalkPaused walks through a journal whose store gives nothing for a while, after
// the first message.
func WalkPaused(ctx context.Context, b *Broker, q relay.Queue, pause time.Duration, visit func()) error {
	var slowErr error
	slow := sync.OnceFunc(func() {
		for _, name := range b.consumers(ctx, journalStream(q)) {
			if name != consumerName(q.Destination) {
				_, slowErr = b.js.PauseConsumer(ctx, journalStream(q), name, time.Now().Add(pause))
			}
		}
	})
	err := b.walk(ctx, journalStream(q), nil, 1, func(*stored) bool {
		slow()
		visit()
		return true
	})
	return errors.Join(err, slowErr)
}

func (b *Broker) consumers(ctx context.Context, stream string) (names []string) {
	s, err := b.js.Stream(ctx, stream)
	if err != nil {
		return nil
	}
	for name := range s.ConsumerNames(ctx).Name() {
		names = append(names, name)
	}
	return names
}

// Followed waits until the accounts have followed the events of a queue.
func Followed(ctx context.Context, b *Broker, q relay.Queue) error {
	return b.accounts[q.Destination].current(ctx)
}

// VoidRoute is the route of what only holds a place.
const VoidRoute = voidRoute

// ExpireLease has the lease of a queue run out now.
func ExpireLease(b *Broker, q relay.Queue) {
	b.leases.mu.Lock()
	defer b.leases.mu.Unlock()
	b.leases.slots[q.Token()].lease.Renewed = time.Now().Add(-relay.LeaseTTL)
}

// EventReads counts how often the events of a destination are asked for from now
// on.
func EventReads(b *Broker, destination string) (func() int, error) {
	var n atomic.Int64
	sub, err := b.nc.Subscribe(apiGet(eventStream(destination)), func(*nats.Msg) { n.Add(1) })
	return func() int {
		_ = b.nc.Flush() // what was asked has come
		_ = sub.Unsubscribe()
		return int(n.Load())
	}, err
}

// ForgetOrganization removes an organization from the bucket.
func ForgetOrganization(ctx context.Context, b *Broker, name string) error {
	return b.purgeKey(ctx, organizationKey(name))
}

// DoorConn is the connection that requests from outside come to.
func DoorConn(b *Broker) *nats.Conn { return b.door }

// FrameSize is how much of an answer a frame holds.
const FrameSize = frameSize

// PassCallHeader is where the edge says what it asks for.
const PassCallHeader = hdrPass

// PassSubject is where the drains of a destination are asked.
var PassSubject = passSubject

// OverTCP is a server with the same users as the broker's, and with a port, which
// that has not; and the key of the user that may do everything.
func OverTCP(b *Broker, dir string) (*server.Server, nkeys.KeyPair, error) {
	opts := b.server.opts.Clone()
	opts.DontListen, opts.Host, opts.Port, opts.StoreDir = false, "127.0.0.1", server.RANDOM_PORT, dir
	s, err := server.NewServer(opts)
	return s, b.server.edge, err
}

// MaxConnections is how many may come to the port at one time.
const MaxConnections = maxConnections

// MaxControlLine is how long a line of the protocol may be.
const MaxControlLine = maxControlLine

// Names of the streams that a drain reads nothing of.
var (
	DeadStream = deadStream
	KeyStream  = keyStream
)

// EdgeKey is the public key of the user that may do everything.
func EdgeKey(b *Broker) (string, error) { return b.server.edge.PublicKey() }

// DrainPermissions is the one list.
var DrainPermissions = drainPermissions

// MaxSubscriptions is how much a connection may listen to.
const MaxSubscriptions = maxSubscriptions

// Reconnects is how often a channel had to connect again.
func Reconnects(c *Channel) uint64 { return c.nc.Stats().Reconnects }

// WriteOrganization stores an organization behind the broker's back, as a write
// does of which nobody knows that it was carried out.
func WriteOrganization(ctx context.Context, b *Broker, o relay.Organization) error {
	value, err := encodeOrganization(o)
	if err == nil {
		_, err = b.kv.Create(ctx, organizationKey(o.Name), value)
	}
	return err
}

// FallIll is a disk that seems to be full at one moment: the store is started anew.
func FallIll(b *Broker) { b.health.fall(ailsFull, errors.New("no space left on device")) }

// Arrived is how many frames of an answer have come that were not taken yet.
func Arrived(answer *relay.PassAnswer) int {
	x, ok := answer.Body.(*exchange)
	if !ok {
		return 0
	}
	n, _, _ := x.sub.Pending()
	return n
}

// MaxOfDestination is how many drains of one destination may be connected.
const MaxOfDestination = maxOfDestination

// WithGrowTimeout is how long a change of an organization may take.
func WithGrowTimeout(o *Options, d time.Duration) { o.growTimeout = d }

// Stored says whether an organization is in the bucket.
func Stored(ctx context.Context, b *Broker, name string) bool {
	_, err := b.kv.Get(ctx, organizationKey(name))
	return err == nil
}

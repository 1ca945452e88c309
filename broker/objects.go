package broker

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

// A body larger than relay.MaxInline is kept in a file of its own beside the
// journal, in pieces (pieces.go); its message holds digest, size and the name of
// the object. The file is written before the message, and one barrier, begun after
// both, covers them. What a crash leaves of an upload belongs to no message, and
// goes at the next start (objectsweep.go). Why files, and no stream:
// docs/decisions/0022-claim-check.md.

const (
	objectsDir = "objects" // in the state directory; a directory a queue in it

	// DefaultUploads is how many large bodies may come at one time.
	DefaultUploads = 32

	// reserveStep is what is taken of the quota for a body whose size nobody has
	// said, in bytes, each time that the last step is used up.
	reserveStep = 8 << 20

	// doubt is how long an object is kept of whose message nobody knows whether it
	// was stored: a publish that was given up may be carried out later.
	doubt = time.Hour
)

// objects are the large bodies of all queues.
type objects struct {
	b       *Broker
	dir     string
	uploads atomic.Int64 // of bodies that come from outside
	queues  growing[relay.Queue, *objectUse]

	mu    sync.Mutex
	files map[string]int64     // by name, the bytes of what is there or comes
	busy  map[string]time.Time // by name, those whose message may come; zero: until their upload ends

	known map[string]uint64 // by name, the sequence of the message; the housekeeper's alone
}

// objectUse is what objects take of a queue's quota.
type objectUse struct {
	bytes    atomic.Int64 // on the disk
	reserved atomic.Int64 // bytes that uploads have still to store
	crowded  atomic.Bool  // journal and objects are more than the quota
}

// openObjects finds what is there.
func (b *Broker) openObjects(context.Context) error {
	o := &objects{b: b, dir: filepath.Join(b.options.StateDir, objectsDir),
		files: map[string]int64{}, busy: map[string]time.Time{}, known: map[string]uint64{}}
	b.objects = o
	for _, q := range b.queues() {
		if err := b.prepare(q); err != nil {
			return err
		}
	}
	return nil
}

// open takes notice of the files of a queue that there is; those of others stay,
// as their journals do.
func (o *objects) open(q relay.Queue) error {
	o.queues.put(q, &objectUse{})
	found, err := os.ReadDir(filepath.Join(o.dir, q.Token()))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for the large bodies of %s: %w", q, err)
	}
	for _, f := range found {
		info, err := f.Info()
		if err != nil {
			return fmt.Errorf("look for the large bodies of %s: %w", q, err)
		}
		if _, _, ok := parseObjectFile(q.Token(), f.Name()); ok {
			o.add(q, filepath.Join(q.Token(), f.Name()), info.Size())
		}
	}
	return nil
}

// add counts so many more bytes of an object.
func (o *objects) add(q relay.Queue, name string, bytes int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.files[name] += bytes
	o.queues.of(q).bytes.Add(bytes)
}

// remove removes an object; one that is not there is removed.
func (o *objects) remove(q relay.Queue, name string) error {
	if err := os.Remove(filepath.Join(o.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove a large body: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queues.of(q).bytes.Add(-o.files[name])
	delete(o.files, name)
	o.b.barrier.MarkDirty()
	return nil
}

// of lists the objects of a queue.
func (o *objects) of(q relay.Queue) map[string]int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := maps.Clone(o.files)
	maps.DeleteFunc(all, func(name string, _ int64) bool { return filepath.Dir(name) != q.Token() })
	return all
}

// isBusy says whether the message of an object may still come.
func (o *objects) isBusy(name string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	until, busy := o.busy[name]
	if busy && !until.IsZero() && time.Now().After(until) {
		delete(o.busy, name)
		return false
	}
	return busy
}

// large says whether a body is to be kept beside the journal.
func large(m *relay.Message) bool { return m.Open != nil || len(m.Body) > relay.MaxInline }

// acceptLarge stores the body of a message as an object and then has the message
// accepted. Nothing of a message that is refused stays.
func (b *Broker) acceptLarge(ctx context.Context, m *relay.Message, accept func(context.Context, *relay.Message) (relay.Receipt, error)) (relay.Receipt, error) {
	if m.Open != nil {
		if err := b.objects.enter(); err != nil {
			return relay.Receipt{}, err
		}
		defer b.objects.leave()
	}
	if m.Key != "" && m.ReplayedFrom == "" { // a body that is there already needs no place; whether a replay is the same, its own accept judges
		if first, err := b.find(ctx, m.ID); err == nil {
			return b.compare(ctx, m, first)
		}
	}
	u := b.objects.begin(m)
	kept, err := u.store(ctx, m)
	if err != nil {
		u.drop()
		return relay.Receipt{}, refusal(err, m)
	}
	receipt, err := accept(ctx, kept)
	u.end(ctx, kept, receipt, err)
	return receipt, err
}

// enter takes one of the places for large bodies that come; who got one gives it
// back with leave.
func (o *objects) enter() error {
	if o.uploads.Add(1) > int64(o.b.options.MaxUploads) {
		o.leave()
		return &relay.Error{Code: relay.CodeTooManyRequests, RetryAfter: 5 * time.Second,
			Detail: "too many large bodies come at this time already; nothing was stored"}
	}
	return nil
}

func (o *objects) leave() { o.uploads.Add(-1) }

// compare answers a known key: the body is read, to know whether it is the same,
// and not stored.
func (b *Broker) compare(ctx context.Context, m, first *relay.Message) (relay.Receipt, error) {
	body, err := m.Content(ctx)
	if err != nil {
		return relay.Receipt{}, refusal(err, m)
	}
	defer func() { _ = body.Close() }() // only read
	sum := newSum()
	if _, err := io.Copy(sum, body); err != nil {
		return relay.Receipt{}, refusal(err, m)
	}
	same := *m
	same.Digest = hexDigest(sum)
	ctx, cancel := context.WithTimeout(ctx, b.options.acceptTimeout)
	defer cancel()
	return b.again(ctx, &same, &storedBefore{first})
}

func hexDigest(sum hash.Hash) string { return hex.EncodeToString(sum.Sum(nil)) }

package broker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/theforeman/foreman-relay/relay"
)

// A body larger than relay.MaxInline is stored in pieces, before the message that
// refers to them: one barrier, begun after the last acknowledgement, covers all of
// it. What a crash leaves of an upload belongs to no message, and goes at the next
// start (objectsweep.go).

const (
	// pieceSize is how much of a body one piece holds, in bytes: what an upload
	// or a delivery holds in memory.
	pieceSize = 512 << 10

	// DefaultUploads is how many bodies may be on their way into pieces at one
	// time. Each holds a few pieces in memory.
	DefaultUploads = 32

	// reserveStep is what is taken of the quota for a body whose size nobody has
	// said, in bytes, each time that the last step is used up.
	reserveStep = 8 << 20

	// doubt is how long an upload is kept of whose message nobody knows whether
	// it was stored: a publish that was given up may be carried out later.
	doubt = time.Hour
)

const hdrPieceDigest = "Relay-Piece-Digest" // SHA-256, hexadecimal

// objects are the uploads of all queues.
type objects struct {
	b       *Broker
	uploads atomic.Int64 // of bodies that come from outside
	queues  map[relay.Queue]*objectUse

	mu   sync.Mutex
	busy map[string]time.Time // by prefix, the uploads whose message may come; zero: until they end

	places map[string]place // the housekeeper's alone
}

// objectUse is what pieces take of a queue's quota.
type objectUse struct {
	any      atomic.Bool  // there are pieces
	crowded  atomic.Bool  // journal and pieces are more than the quota
	reserved atomic.Int64 // bytes that uploads have still to store
}

func newObjects(b *Broker) *objects {
	o := &objects{b: b, queues: map[relay.Queue]*objectUse{}, busy: map[string]time.Time{}, places: map[string]place{}}
	for q := range b.known {
		o.queues[q] = &objectUse{}
	}
	return o
}

// large says whether a body is to be stored in pieces.
func large(m *relay.Message) bool { return m.Open != nil || len(m.Body) > relay.MaxInline }

// acceptLarge stores the body of a message in pieces and then has the message
// accepted. Nothing of a message that is refused stays.
func (b *Broker) acceptLarge(ctx context.Context, m *relay.Message, accept func(context.Context, *relay.Message) (relay.Receipt, error)) (relay.Receipt, error) {
	if m.Open != nil {
		if b.objects.uploads.Add(1) > int64(b.options.MaxUploads) {
			b.objects.uploads.Add(-1)
			return relay.Receipt{}, &relay.Error{Code: relay.CodeTooManyRequests, RetryAfter: 5 * time.Second,
				Detail: "too many large bodies come at this time already; nothing was stored"}
		}
		defer b.objects.uploads.Add(-1)
	}
	if m.Key != "" { // a body that is there already needs no place
		if first, err := b.find(ctx, m.ID); err == nil {
			return b.compare(ctx, m, first)
		}
	}
	u := b.objects.begin(m)
	kept, err := u.store(ctx, m)
	if err != nil {
		u.drop(ctx)
		return relay.Receipt{}, refusal(err, m)
	}
	receipt, err := accept(ctx, kept)
	u.end(ctx, kept, receipt, err)
	return receipt, err
}

// compare answers a known key: the body is read, to know whether it is the same,
// and not stored.
func (b *Broker) compare(ctx context.Context, m, first *relay.Message) (relay.Receipt, error) {
	body, err := m.Content(ctx)
	if err != nil {
		return relay.Receipt{}, refusal(err, m)
	}
	defer func() { _ = body.Close() }() // only read
	sum := sha256.New()
	if _, err := io.Copy(sum, body); err != nil {
		return relay.Receipt{}, refusal(err, m)
	}
	same := *m
	same.Digest = hexDigest(sum)
	return b.again(ctx, &same, &storedBefore{first})
}

func hexDigest(sum hash.Hash) string { return hex.EncodeToString(sum.Sum(nil)) }

// upload is one body on its way into pieces.
type upload struct {
	o        *objects
	queue    relay.Queue
	use      *objectUse
	token    string
	prefix   string
	pieces   int
	reserved int64
}

// begin marks an upload before anything of it is stored: the housekeeper leaves
// it alone until it ends.
func (o *objects) begin(m *relay.Message) *upload {
	token := relay.FreshObject()
	u := &upload{o: o, queue: m.Queue, use: o.queues[m.Queue], token: token, prefix: objectPrefix(m.ID, token)}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.busy[u.prefix] = time.Time{}
	u.use.any.Store(true)
	return u
}

// store puts the body into pieces while it is read, and returns the message that
// refers to them.
func (u *upload) store(ctx context.Context, m *relay.Message) (*relay.Message, error) {
	defer func() { u.release(u.reserved) }()
	if err := u.reserve(ctx, max(m.Length(), 0)); err != nil {
		return nil, err
	}
	body, err := m.Content(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }() // what was read is what counts
	if err := u.put(ctx, 0, nil); err != nil {
		return nil, err
	}
	sum, size, piece := sha256.New(), int64(0), make([]byte, pieceSize)
	for end := false; !end; {
		var n int
		if n, end, err = fill(body, piece); err != nil {
			return nil, err
		}
		if n == 0 {
			break
		}
		sum.Write(piece[:n])
		u.pieces++
		size += int64(n)
		if err := u.put(ctx, u.pieces, piece[:n]); err != nil {
			return nil, err
		}
	}
	kept := *m
	kept.Body, kept.Open = nil, nil
	kept.Object, kept.Size, kept.Digest = relay.ObjectName(u.token, u.pieces), size, hexDigest(sum)
	return &kept, nil
}

// fill reads until the piece is full or the body ends.
func fill(from io.Reader, piece []byte) (n int, end bool, err error) {
	for n < len(piece) {
		m, err := from.Read(piece[n:])
		n += m
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return n, true, nil
		}
		if err != nil {
			return n, false, err
		}
	}
	return n, false, nil
}

// put stores one piece. A store that is full is trimmed and tried once more.
func (u *upload) put(ctx context.Context, number int, piece []byte) error {
	if err := u.reserve(ctx, int64(len(piece))); err != nil {
		return err
	}
	b := u.o.b
	if err := b.health.admit(); err != nil {
		return err
	}
	if err := b.disk.admit(len(piece)); err != nil {
		return err
	}
	defer b.disk.done(len(piece))
	err := b.putPiece(ctx, pieceSubject(u.prefix, number), piece)
	var refused *pubError
	if errors.As(err, &refused) && refused.full() && b.house.clear(ctx, u.queue) {
		err = b.putPiece(ctx, pieceSubject(u.prefix, number), piece)
	}
	if err == nil {
		u.release(int64(len(piece)))
	}
	return err
}

// putPiece stores a piece at a subject; one that is there already is a *pubError.
func (b *Broker) putPiece(ctx context.Context, subject string, piece []byte) error {
	ctx, cancel := context.WithTimeout(ctx, b.options.acceptTimeout)
	defer cancel()
	ctx, done := b.health.bound(ctx)
	defer done()
	msg := &nats.Msg{Subject: subject, Header: nats.Header{hdrPieceDigest: {relay.DigestOf(piece)}}}
	expectNew(msg, subject)
	_, err := publish(ctx, b.nc, msg, piece)
	return told(ctx, err)
}

// reserve takes room in the quota for so much more, as far as the upload has not
// taken it already. Journal and pieces together have the quota.
func (u *upload) reserve(ctx context.Context, more int64) error {
	if more <= u.reserved {
		return nil
	}
	step := more - u.reserved
	if u.pieces > 0 { // nobody has said how much will come
		step = max(step, reserveStep)
	}
	u.reserved += step
	u.use.reserved.Add(step)
	for try := range 2 {
		used, err := u.o.used(ctx, u.queue)
		if err != nil {
			return err
		}
		if used+u.use.reserved.Load() <= u.o.b.options.QuotaBytes {
			return nil
		}
		if try == 0 {
			u.o.b.house.clear(ctx, u.queue)
		}
	}
	return full(u.queue, nil)
}

// release gives back what was stored, or is not needed.
func (u *upload) release(n int64) {
	n = min(n, u.reserved)
	u.reserved -= n
	u.use.reserved.Add(-n)
}

// used is what journal and pieces of a queue take, in bytes.
func (o *objects) used(ctx context.Context, q relay.Queue) (int64, error) {
	var sum uint64
	for _, name := range []string{journalStream(q), objectStream(q)} {
		s, err := o.b.js.Stream(ctx, name)
		if err != nil {
			return 0, err
		}
		sum += s.CachedInfo().State.Bytes
	}
	return int64(sum), nil
}

// end says what became of the message that refers to the upload.
func (u *upload) end(ctx context.Context, m *relay.Message, receipt relay.Receipt, err error) {
	switch {
	case err == nil && !receipt.Replayed:
		u.leave(time.Time{})
	case relay.CodeOf(err) == relay.CodeUnavailable: // it may be stored, or may still be
		u.leave(time.Now().Add(doubt))
	default:
		if first, err := u.o.b.find(context.WithoutCancel(ctx), m.ID); err == nil && first.Object == m.Object {
			u.leave(time.Time{})
			return
		}
		u.drop(ctx)
	}
}

// drop removes what was stored of an upload that no message refers to. What
// cannot be removed now the housekeeper finds.
func (u *upload) drop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	ctx, done := u.o.b.health.bound(ctx)
	defer done()
	if err := u.o.b.removeSubject(ctx, objectStream(u.queue), u.prefix+">"); err != nil {
		u.o.b.log.Warn().Err(err).Str("queue", u.queue.String()).Msg("what is left of an upload could not be removed; it is removed later")
	}
	u.leave(time.Time{})
}

// leave hands an upload to the housekeeper: at once, or not before a time.
func (u *upload) leave(until time.Time) {
	u.o.mu.Lock()
	defer u.o.mu.Unlock()
	if until.IsZero() {
		delete(u.o.busy, u.prefix)
		return
	}
	u.o.busy[u.prefix] = until
}

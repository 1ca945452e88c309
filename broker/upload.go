package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

// upload is one body on its way into its file.
type upload struct {
	o        *objects
	queue    relay.Queue
	use      *objectUse
	token    string
	name     string
	file     *os.File
	pieces   int
	reserved int64
	stuck    bool // the disk does not answer: the file is somebody else's
}

// errSlowDisk: a write took longer than a request may wait.
var errSlowDisk = errors.New("the disk does not answer in time")

// begin marks an upload before anything of it is stored: the housekeeper leaves
// it alone until it ends.
func (o *objects) begin(m *relay.Message) *upload {
	token := relay.FreshObject()
	u := &upload{o: o, queue: m.Queue, use: o.queues.of(m.Queue), token: token, name: objectFile(m.ID, token)}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.busy[u.name] = time.Time{}
	return u
}

// store writes the body while it is read, and returns the message that refers to
// it.
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
	if err := u.patiently(u.create); err != nil {
		return nil, err
	}
	kept := *m
	kept.Body, kept.Open, kept.Size = nil, nil, 0
	sum, buf := newSum(), make([]byte, pieceSize+sumSize)
	for end := false; !end; {
		var n int
		if n, end, err = fill(body, buf[:pieceSize]); err != nil {
			return nil, err
		}
		if n == 0 {
			break
		}
		sum.Write(buf[:n])
		kept.Size += int64(n)
		if err := u.put(ctx, buf, n); err != nil {
			return nil, err
		}
	}
	if u.pieces == 0 {
		return nil, relay.Refuse(relay.CodeMalformed, "a large body was to come, and nothing came; nothing was stored")
	}
	kept.Object, kept.Digest = relay.ObjectName(u.token, u.pieces), hexDigest(sum)
	return &kept, u.patiently(u.finish)
}

// fill reads until the buffer is full or the body ends.
func fill(from io.Reader, buf []byte) (n int, end bool, err error) {
	for n < len(buf) {
		m, err := from.Read(buf[n:])
		n += m
		if errors.Is(err, io.EOF) {
			return n, true, nil
		}
		if err != nil {
			return n, false, err
		}
	}
	return n, false, nil
}

// put writes the piece of n bytes at the beginning of buf, and its digest.
func (u *upload) put(ctx context.Context, buf []byte, n int) error {
	b := u.o.b
	if err := u.reserve(ctx, int64(n)); err != nil {
		return err
	}
	if err := b.health.admit(); err != nil {
		return err
	}
	if err := b.disk.admit(n); err != nil {
		return err
	}
	defer b.disk.done(n)
	buf = append(buf[:n], pieceSum(u.token, u.pieces+1, buf[:n])...)
	err := u.patiently(func() error {
		_, err := u.file.Write(buf)
		return err
	})
	if err != nil {
		return err
	}
	u.pieces++
	u.o.add(u.queue, u.name, int64(len(buf)))
	u.release(int64(n))
	b.barrier.MarkDirty() // so that no barrier has all of a large body to write
	return nil
}

func (u *upload) create() (err error) {
	dir := filepath.Join(u.o.dir, filepath.Dir(u.name))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	u.o.add(u.queue, u.name, 0)
	u.file, err = os.OpenFile(filepath.Join(u.o.dir, u.name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	return err
}

// finish puts the file on the disk where no barrier does it.
func (u *upload) finish() error {
	b := u.o.b
	if b.choice.Effective == ModeAlways {
		err := u.file.Sync()
		for _, dir := range []string{filepath.Dir(u.file.Name()), u.o.dir, b.options.StateDir} {
			if err == nil {
				err = syncDir(dir)
			}
		}
		if err != nil {
			b.barrier.Fail(fmt.Errorf("sync a large body: %w", err)) // the kernel tells it once
			return err
		}
	}
	return u.file.Close()
}

// patiently has something written, and waits no longer for it than a request may.
// What the disk does too late is undone then.
func (u *upload) patiently(write func() error) error {
	done := make(chan error, 1)
	go func() { done <- write() }()
	t := time.NewTimer(u.o.b.options.acceptTimeout)
	defer t.Stop()
	select {
	case err := <-done:
		return noSpace(err)
	case <-t.C:
		u.stuck = true
		go func() {
			if err := <-done; err != nil { // too late to be told to anybody else
				u.o.b.log.Warn().Err(err).Str("queue", u.queue.String()).Msg("a write that an upload had given up failed")
			}
			u.discard()
		}()
		return errSlowDisk
	}
}

// noSpace tells a full disk from a broken one.
func noSpace(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return &relay.Error{Code: relay.CodeStorageFull, RetryAfter: fullRetryAfter, Err: err, Detail: "the relay's disk is full; nothing was stored"}
	}
	return err
}

// reserve takes room in the quota for so much more, as far as the upload has not
// taken it already. Journal and objects together have the quota.
func (u *upload) reserve(ctx context.Context, more int64) error {
	if more <= u.reserved {
		return nil
	}
	step := more - u.reserved
	if u.file != nil { // nobody has said how much will come
		step = max(step, reserveStep)
	}
	u.reserved += step
	u.use.reserved.Add(step)
	for try := range 2 {
		used, err := u.o.used(ctx, u.queue)
		if err != nil {
			return err
		}
		if used+u.use.reserved.Load() <= u.o.b.quota(u.queue) {
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

// used is what journal and objects of a queue take, in bytes.
func (o *objects) used(ctx context.Context, q relay.Queue) (int64, error) {
	s, err := o.b.js.Stream(ctx, journalStream(q))
	if err != nil {
		return 0, err
	}
	return int64(s.CachedInfo().State.Bytes) + o.queues.of(q).bytes.Load(), nil
}

// end says what became of the message that refers to the object.
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
		u.drop()
	}
}

// drop removes what was stored of an upload that no message refers to. What
// cannot be removed now the housekeeper finds.
func (u *upload) drop() {
	if !u.stuck { // else a write is under way still
		u.discard()
	}
}

func (u *upload) discard() {
	if u.file != nil {
		_ = u.file.Close() // it may be closed already; nothing of it counts
	}
	if err := u.o.remove(u.queue, u.name); err != nil {
		u.o.b.log.Warn().Err(err).Str("queue", u.queue.String()).Msg("what is left of an upload is removed later")
	}
	u.leave(time.Time{})
}

// leave hands the object to the housekeeper: at once, or not before a time.
func (u *upload) leave(until time.Time) {
	u.o.mu.Lock()
	defer u.o.mu.Unlock()
	if until.IsZero() {
		delete(u.o.busy, u.name)
		return
	}
	u.o.busy[u.name] = until
}

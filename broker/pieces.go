package broker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/theforeman/foreman-relay/relay"
)

// The file of an object is its pieces, each followed by its digest: a piece is known
// to be right, and in its place, before it is given away, and the sizes of body and file follow
// from each other. pieceSize is part of the format.
const (
	pieceSize = 512 << 10 // bytes of the body, in all pieces but the last
	sumSize   = sha256.Size
)

func newSum() hash.Hash { return sha256.New() }

// pieceSum is the digest of a piece: of its content, and of where it belongs.
func pieceSum(upload string, number int, data []byte) []byte {
	sum := newSum()
	_, _ = fmt.Fprintf(sum, "%s.%d\n", upload, number) // a hash never fails
	sum.Write(data)
	return sum.Sum(make([]byte, 0, sumSize))
}

// objectFile is the name of an object below the directory of objects.
func objectFile(id, upload string) string {
	queue, own, _ := relay.ParseID(id) // one that is malformed was refused before
	return filepath.Join(queue, own+"."+upload)
}

// parseObjectFile is the inverse of objectFile.
func parseObjectFile(queue, name string) (id, upload string, ok bool) {
	own, upload, found := strings.Cut(name, ".")
	id = queue + "-" + own
	_, _, isID := relay.ParseID(id)
	_, _, isObject := relay.ParseObject(relay.ObjectName(upload, 1))
	return id, upload, found && isID && isObject
}

// objectBytes is the size of the file of a body, in bytes.
func objectBytes(size int64, pieces int) int64 { return size + int64(pieces)*sumSize }

// piece is one piece as it was read.
type piece struct {
	data []byte
	sum  []byte
}

// read reads one piece of the body of a message; errNotFound. It is for the edge,
// which has the files.
func (o *objects) read(_ context.Context, m *relay.Message, number int) (piece, error) {
	return o.readInto(make([]byte, pieceSize+sumSize), m.ID, m.Object, number)
}

func (o *objects) readInto(buf []byte, id, object string, number int) (piece, error) {
	upload, count, ok := relay.ParseObject(object)
	if _, _, isID := relay.ParseID(id); !ok || !isID || number < 1 || number > count {
		return piece{}, errNotFound
	}
	f, err := os.Open(filepath.Join(o.dir, objectFile(id, upload)))
	if errors.Is(err, os.ErrNotExist) {
		return piece{}, errNotFound
	}
	if err != nil {
		return piece{}, err
	}
	defer func() { _ = f.Close() }() // only read
	n, err := f.ReadAt(buf, int64(number-1)*(pieceSize+sumSize))
	if err != nil && !errors.Is(err, io.EOF) {
		return piece{}, err
	}
	if n <= sumSize {
		return piece{}, errNotFound
	}
	return piece{data: buf[:n-sumSize], sum: buf[n-sumSize : n]}, nil
}

// pieceSource reads one piece of the body of a message; errNotFound.
type pieceSource func(ctx context.Context, m *relay.Message, number int) (piece, error)

// content reads a body from its pieces (io.ReadCloser). A piece is given only when
// it is what was stored, and the last one only when all of them together are what
// was accepted: who reads to the end has the body, and who does not has not got it
// all.
type content struct {
	ctx     context.Context //nolint:containedctx // io.Reader has no place for it
	message *relay.Message
	source  pieceSource
	upload  string
	count   int

	number int
	seen   int64
	sum    hash.Hash
	rest   []byte
	err    error
}

// contentOf makes what reads the body of a message, whatever the message is made
// into later: a replay gets another id.
func contentOf(m *relay.Message, source pieceSource) func(context.Context) (io.ReadCloser, error) {
	upload, count, _ := relay.ParseObject(m.Object) // the envelope was read, so it is one
	as := *m
	return func(ctx context.Context) (io.ReadCloser, error) {
		return &content{ctx: ctx, message: &as, source: source, upload: upload, count: count, sum: newSum()}, nil
	}
}

func (c *content) Read(buf []byte) (int, error) {
	if len(c.rest) == 0 && c.err == nil {
		c.rest, c.err = c.next()
	}
	if c.err != nil {
		return 0, c.err
	}
	n := copy(buf, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// Close lets go of what was read; nothing is open.
func (c *content) Close() error {
	c.rest, c.err = nil, errors.New("the body was closed")
	return nil
}

// next is the next piece, which is what was accepted.
func (c *content) next() ([]byte, error) {
	if c.number == c.count {
		return nil, io.EOF
	}
	c.number++
	p, err := c.source(c.ctx, c.message, c.number)
	switch {
	case errors.Is(err, errNotFound):
		return nil, c.damaged("is missing")
	case err != nil:
		return nil, fmt.Errorf("read piece %d of %d of a body: %w", c.number, c.count, err)
	}
	if !bytes.Equal(pieceSum(c.upload, c.number, p.data), p.sum) {
		return nil, c.damaged("is not what was stored")
	}
	c.sum.Write(p.data)
	c.seen += int64(len(p.data))
	if c.number == c.count && (c.seen != c.message.Size || hexDigest(c.sum) != c.message.Digest) {
		return nil, c.damaged("does not make it what was accepted")
	}
	return p.data, nil
}

func (c *content) damaged(how string) error {
	return fmt.Errorf("%w: piece %d of %d %s", relay.ErrDamaged, c.number, c.count, how)
}

// excerpt is the beginning of a large body, as much of it as is shown.
func excerpt(ctx context.Context, m *relay.Message) ([]byte, error) {
	body, err := m.Content(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }() // only read
	var start bytes.Buffer
	_, err = io.CopyN(&start, body, min(relay.MaxExcerpt, m.Size))
	return start.Bytes(), err
}

// addLetterBody makes the large body of a letter readable, and adds what is shown
// of it. One that is damaged can still be looked at and discarded: audit names it,
// and its replay says so.
func (b *Broker) addLetterBody(ctx context.Context, l *relay.DeadLetter, m *relay.Message) (err error) {
	m.Open, l.BodyCut = contentOf(m, b.objects.read), true
	if l.Body, err = excerpt(ctx, m); errors.Is(err, relay.ErrDamaged) {
		return nil
	}
	return err
}

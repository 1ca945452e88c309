package broker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/theforeman/foreman-relay/relay"
)

func pieceSubject(prefix string, number int) string { return prefix + strconv.Itoa(number) }

// pieces reads a body that is stored in pieces (io.ReadCloser). A piece is given
// only when it is what was stored, and the last one only when all of them together
// are what was accepted: who reads to the end has the body, and who does not has
// not got it all.
type pieces struct {
	ctx    context.Context //nolint:containedctx // io.Reader has no place for it
	get    func(ctx context.Context, number int) (*stored, error)
	count  int
	size   int64
	digest string

	number int
	seen   int64
	sum    hash.Hash
	rest   []byte
	err    error
}

// contentOf makes what reads the body of a message; get reads one piece.
func contentOf(m *relay.Message, get func(ctx context.Context, number int) (*stored, error)) func(context.Context) (io.ReadCloser, error) {
	size, digest := m.Size, m.Digest
	_, count, _ := relay.ParseObject(m.Object) // the envelope was read, so it is one
	return func(ctx context.Context) (io.ReadCloser, error) {
		return &pieces{ctx: ctx, get: get, count: count, size: size, digest: digest, sum: sha256.New()}, nil
	}
}

func (p *pieces) Read(buf []byte) (int, error) {
	if len(p.rest) == 0 && p.err == nil {
		p.rest, p.err = p.next()
	}
	if p.err != nil {
		return 0, p.err
	}
	n := copy(buf, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// Close lets go of what was read; nothing is open.
func (p *pieces) Close() error {
	p.rest, p.err = nil, errors.New("the body was closed")
	return nil
}

// next is the next piece, which is what was accepted.
func (p *pieces) next() ([]byte, error) {
	if p.number == p.count {
		return nil, io.EOF
	}
	p.number++
	s, err := p.get(p.ctx, p.number)
	switch {
	case errors.Is(err, errNotFound):
		return nil, p.damaged("is missing")
	case err != nil:
		return nil, fmt.Errorf("read piece %d of %d of a body: %w", p.number, p.count, err)
	case relay.DigestOf(s.data) != s.header.Get(hdrPieceDigest):
		return nil, p.damaged("is not what was stored")
	}
	p.sum.Write(s.data)
	p.seen += int64(len(s.data))
	if p.number == p.count && (p.seen != p.size || hexDigest(p.sum) != p.digest) {
		return nil, p.damaged("does not make it what was accepted")
	}
	return s.data, nil
}

func (p *pieces) damaged(how string) error {
	return fmt.Errorf("%w: piece %d of %d %s", relay.ErrDamaged, p.number, p.count, how)
}

// pieceReader reads pieces below a prefix of a stream.
func pieceReader(nc *nats.Conn, stream, prefix string) func(context.Context, int) (*stored, error) {
	return func(ctx context.Context, number int) (*stored, error) {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		return get(ctx, nc, apiGet(stream), &getRequest{LastFor: pieceSubject(prefix, number)})
	}
}

// objectContent reads the body of a message of the journal on the edge's side.
func (b *Broker) objectContent(m *relay.Message) func(context.Context) (io.ReadCloser, error) {
	upload, _, _ := relay.ParseObject(m.Object)
	return contentOf(m, pieceReader(b.nc, objectStream(m.Queue), objectPrefix(m.ID, upload)))
}

// pieceRetry is the pause before a piece is asked for again.
const pieceRetry = 200 * time.Millisecond

// content reads the body of a message on the drain's side: each piece again and
// again while the broker is away, until the attempt ends.
func (j *journal) content(m *relay.Message) func(context.Context) (io.ReadCloser, error) {
	upload, _, _ := relay.ParseObject(m.Object)
	read := pieceReader(j.c.nc, objectStream(j.queue), objectPrefix(m.ID, upload))
	return contentOf(m, func(ctx context.Context, number int) (*stored, error) {
		for {
			s, err := j.piece(ctx, read, number)
			if err == nil || errors.Is(err, errNotFound) {
				return s, err
			}
			select {
			case <-time.After(pieceRetry):
			case <-ctx.Done():
				return nil, err
			}
		}
	})
}

func (j *journal) piece(ctx context.Context, read func(context.Context, int) (*stored, error), number int) (*stored, error) {
	ctx, cancel, err := j.c.call(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	return read(ctx, number)
}

// excerpt is the beginning of a body that is stored in pieces, as much of it as
// is shown.
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

package seal

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
)

// The sizes of age's format: the body is in chunks, each with its tag.
const (
	chunkSize   = 64 << 10
	tagSize     = 16
	nonceSize   = 16
	stanzaMost  = 128 // bytes in the header for one X25519 recipient
	headerExtra = 128 // first line and MAC
)

// atMost bounds the sealed form of so many bytes.
func atMost(n int64, recipients int) int64 {
	return int64(headerExtra+recipients*stanzaMost) + nonceSize + n + (n/chunkSize+1)*tagSize
}

// clearSize is how many bytes a payload of age holds, without header and nonce.
func clearSize(payload int64) int64 {
	chunks := (payload + chunkSize + tagSize - 1) / (chunkSize + tagSize)
	return payload - chunks*tagSize
}

// stream is a body that is sealed while it is read. Its print is known at its end
// (relay.Printed).
type stream struct {
	io.Reader
	ctx   context.Context //nolint:containedctx // of the one reading
	clear io.ReadCloser
	sum   hash.Hash
	blind func(ctx context.Context, text string) (string, error)
	print string
}

func newStream(ctx context.Context, clear io.ReadCloser, blind func(context.Context, string) (string, error)) *stream {
	return &stream{ctx: ctx, clear: clear, sum: sha256.New(), blind: blind}
}

// source reads the clear form and sums it up.
func (s *stream) source() io.Reader { return sourceReader{s} }

type sourceReader struct{ s *stream }

func (r sourceReader) Read(p []byte) (int, error) {
	n, err := r.s.clear.Read(p)
	r.s.sum.Write(p[:n])
	if errors.Is(err, io.EOF) {
		text, failed := r.s.blind(r.s.ctx, hex.EncodeToString(r.s.sum.Sum(nil)))
		if failed != nil {
			return n, failed
		}
		r.s.print = text
		return n, io.EOF
	}
	return n, err
}

// Print implements relay.Printed.
func (s *stream) Print() string { return s.print }

// Close closes the clear form.
func (s *stream) Close() error { return s.clear.Close() }

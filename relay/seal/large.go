package seal

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"

	"filippo.io/age"

	"github.com/theforeman/foreman-relay/relay"
)

// openLarge has a body in pieces opened while it is read. Its clear size follows
// from the sealed one.
func (r *Keyring) openLarge(ctx context.Context, m, opened *relay.Message) (*relay.Message, error) {
	first, err := r.openStored(ctx, m)
	if err != nil {
		return nil, err
	}
	defer func() { _ = first.Close() }() // only looked at
	opened.Size = first.size
	opened.Digest = "" // of the sealed form; nobody needs that of the clear one
	opened.Open = func(ctx context.Context) (io.ReadCloser, error) { return r.openStored(ctx, m) }
	return opened, nil
}

// large is a body in pieces that is opened while it is read.
type large struct {
	clear io.Reader
	from  io.Closer
	size  int64
}

// openStored opens a body in pieces as far as its preamble.
func (r *Keyring) openStored(ctx context.Context, m *relay.Message) (*large, error) {
	from, err := m.Content(ctx)
	if err != nil {
		return nil, err
	}
	buffered := bufio.NewReaderSize(told{from}, maxHeader)
	size, err := sizeOf(buffered, m)
	if err == nil {
		var clear io.Reader
		if clear, err = r.begin(m, forBody, buffered); err == nil {
			return &large{clear: clear, from: from, size: size}, nil
		}
	}
	return nil, errors.Join(err, from.Close())
}

// sizeOf is the clear size of a sealed body.
func sizeOf(sealed *bufio.Reader, m *relay.Message) (int64, error) {
	head, err := sealed.Peek(maxHeader)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, changed(forBody, err)
	}
	header, err := age.ExtractHeader(bytes.NewReader(head))
	if err != nil {
		return 0, changed(forBody, err)
	}
	return max(0, clearSize(m.Size-int64(len(header))-nonceSize)-int64(len(forBody.preamble(m.Queue)))), nil
}

func (l *large) Read(p []byte) (int, error) {
	n, err := l.clear.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, changed(forBody, err)
	}
	return n, err
}

func (l *large) Close() error { return l.from.Close() }

// told marks errors of reading as such.
type told struct{ io.Reader }

func (t told) Read(p []byte) (int, error) {
	n, err := t.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &readError{err}
	}
	return n, err
}

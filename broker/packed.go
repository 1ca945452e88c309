package broker

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

// A ledger that knows of many waiting messages is stored compressed: while its
// checkpoint is too large to be stored, nothing is trimmed. 50 000 that wait take
// 4 MB, and a sixth of that so.
const (
	packAbove = 64 << 10  // bytes; a smaller one is stored as it is
	maxLedger = 256 << 20 // bytes of one that is unpacked
)

var gzipMagic = []byte{0x1f, 0x8b}

// pack makes of an encoded ledger what is stored.
func pack(ledger []byte) ([]byte, error) {
	if len(ledger) <= packAbove {
		return ledger, nil
	}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	if err == nil {
		_, err = w.Write(ledger)
	}
	if err == nil {
		err = w.Close()
	}
	return packed.Bytes(), err
}

// unpack is the inverse of pack.
func unpack(stored []byte) ([]byte, error) {
	if !bytes.HasPrefix(stored, gzipMagic) {
		return stored, nil
	}
	r, err := gzip.NewReader(bytes.NewReader(stored))
	if err != nil {
		return nil, fmt.Errorf("unpack a ledger: %w", err)
	}
	ledger, err := io.ReadAll(io.LimitReader(r, maxLedger+1))
	if err == nil && len(ledger) > maxLedger {
		err = errors.New("it is too large")
	}
	if err != nil {
		return nil, fmt.Errorf("unpack a ledger: %w", err)
	}
	return ledger, nil
}

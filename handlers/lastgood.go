package handlers

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/theforeman/foreman-relay/relay"
)

// lastGood keeps the last good answers to requests that may be answered with
// them. They may hold secrets of hosts (parameters of a node), so that they are
// in memory only, never on the disk, and gone with the process.
//
// It has bounds in entries and in bytes; what was not used for the longest time
// goes first.
type lastGood struct {
	maxBytes int64

	mu      sync.Mutex
	answers *simplelru.LRU[string, keptAnswer]
	bytes   int64
}

// Bounds that suit some thousand nodes of some ten kilobytes.
const (
	DefaultStaleEntries = 10_000
	DefaultStaleBytes   = 64 << 20
)

type keptAnswer struct {
	header http.Header
	body   []byte
	at     time.Time
}

// entryOverhead is what an entry costs besides key and body, roughly, in bytes.
const entryOverhead = 512

func (k keptAnswer) size(key string) int64 { return int64(len(key)+len(k.body)) + entryOverhead }

// newLastGood makes a store of so many entries and bytes; with no entries it
// keeps nothing.
func newLastGood(entries int, maxBytes int64) *lastGood {
	l := &lastGood{maxBytes: maxBytes}
	if entries > 0 {
		l.answers, _ = simplelru.NewLRU(entries, func(key string, k keptAnswer) { l.bytes -= k.size(key) }) // it fails for no entries only
	}
	return l
}

// keep remembers an answer whose body is in memory, and gives it a fresh body.
func (l *lastGood) keep(key string, a *relay.PassAnswer, now time.Time) error {
	body, err := io.ReadAll(a.Body)
	if err != nil {
		return err
	}
	a.Body = io.NopCloser(bytes.NewReader(body))
	k := keptAnswer{header: a.Header.Clone(), body: body, at: now}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.answers == nil {
		return nil
	}
	l.answers.Remove(key) // an overwritten one is not told to have gone
	if k.size(key) > l.maxBytes {
		return nil
	}
	l.answers.Add(key, k)
	l.bytes += k.size(key)
	for l.bytes > l.maxBytes {
		l.answers.RemoveOldest()
	}
	return nil
}

// find is the last good answer, and how old it is.
func (l *lastGood) find(key string, now time.Time) (*relay.PassAnswer, time.Duration, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.answers == nil {
		return nil, 0, false
	}
	k, ok := l.answers.Get(key)
	if !ok {
		return nil, 0, false
	}
	return &relay.PassAnswer{Status: http.StatusOK, Header: k.header.Clone(), Length: int64(len(k.body)),
		Body: io.NopCloser(bytes.NewReader(k.body))}, max(0, now.Sub(k.at)), true
}

// drop forgets an answer.
func (l *lastGood) drop(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.answers != nil {
		l.answers.Remove(key)
	}
}

package handlers

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/theforeman/foreman-relay/relay"
)

// Level of an entry, as smart proxies name it.
type Level string

// The levels that the relay gives.
const (
	LevelWarn  Level = "WARN"
	LevelError Level = "ERROR"
)

// How much a ProxyLog holds: a smart proxy's own defaults, and the number by
// which Ruby knows the level from which on entries are kept longer.
const (
	proxyLogSize  = 2000
	proxyLogTail  = 1000
	tailLevelRuby = 3 // ERROR
	maxLogMessage = 1 << 10
	// shortRequestID is what a smart proxy keeps of a request's id; Foreman's own
	// log begins its lines with as much.
	shortRequestID = 8
)

// ProxyLog holds the last entries of what Foreman shows as the log of its smart
// proxy, in memory only: 2000, and of what is older the last 1000 errors, so that
// a flood of refused requests does not push dead letters out.
type ProxyLog struct {
	now  relay.Clock
	mu   sync.Mutex
	main ring
	tail ring
}

// NewProxyLog makes an empty one.
func NewProxyLog(now relay.Clock) *ProxyLog {
	return &ProxyLog{now: now, main: ring{most: proxyLogSize}, tail: ring{most: proxyLogTail}}
}

// logEntry is one line as GET /logs gives it.
type logEntry struct {
	Timestamp rubyFloat `json:"timestamp"` // seconds since 1970
	Level     Level     `json:"level"`
	Message   string    `json:"message"`
	RequestID string    `json:"request_id,omitempty"`
}

// Add adds an entry; the message is cut at 1 KiB.
func (l *ProxyLog) Add(level Level, requestID, message string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := logEntry{Timestamp: rubyTime(l.now()), Level: level, Message: cut(message, maxLogMessage), RequestID: cut(requestID, shortRequestID)}
	if old, full := l.main.push(e); full && old.Level == LevelError {
		l.tail.push(old)
	}
}

// Buried adds a dead letter.
func (l *ProxyLog) Buried(d relay.DeadLetter, requestID string) {
	answer := ""
	if d.Status != 0 {
		answer = fmt.Sprintf(", last answer %d", d.Status)
	}
	l.Add(LevelError, requestID, fmt.Sprintf("dead letter %s of %s: %s after %d attempts%s (route %s); see foreman-relay dlq show %s",
		d.ID, d.Queue(), d.Reason, d.Attempts, answer, d.Route, d.ID))
}

// since are the entries from a time on, the oldest first; 0: all.
func (l *ProxyLog) since(from float64) []logEntry {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := []logEntry{}
	for _, r := range []*ring{&l.tail, &l.main} {
		r.each(func(e logEntry) {
			if float64(e.Timestamp) >= from {
				found = append(found, e)
			}
		})
	}
	return found
}

// ring holds the last entries, most of them at most.
type ring struct {
	most    int
	entries []logEntry
	next    int // the oldest, once it is full
}

// push adds an entry and returns the one that had to go.
func (r *ring) push(e logEntry) (old logEntry, full bool) {
	if len(r.entries) < r.most {
		r.entries = append(r.entries, e)
		return old, false
	}
	old, r.entries[r.next] = r.entries[r.next], e
	r.next = (r.next + 1) % r.most
	return old, true
}

func (r *ring) each(visit func(logEntry)) {
	for i := range r.entries {
		visit(r.entries[(r.next+i)%len(r.entries)])
	}
}

// rubyFloat is a number as Ruby writes a Float: never without a point.
type rubyFloat float64

func rubyTime(t time.Time) rubyFloat { return rubyFloat(float64(t.UnixMicro()) / 1e6) }

// MarshalJSON implements json.Marshaler.
func (f rubyFloat) MarshalJSON() ([]byte, error) {
	text := strconv.AppendFloat(nil, float64(f), 'f', -1, 64)
	if !bytes.ContainsRune(text, '.') {
		text = append(text, ".0"...)
	}
	return text, nil
}

// parseFrom reads ?from_timestamp= as Ruby does: what is no number is 0.
func parseFrom(s string) float64 {
	from, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(from) {
		return 0
	}
	return from
}

// cut is the beginning of a text, whole characters of it.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}

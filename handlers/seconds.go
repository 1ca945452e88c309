package handlers

import (
	"sync"
	"time"
)

// seconds gives each name every second once: Foreman knows two ARF reports of
// one host by their second alone. Who comes twice within one gets the next, so
// that the times of a host only grow.
//
// It remembers nothing beyond the process. A new one begins with the second
// after its start, which the one before has given to nobody, unless it was
// ahead of the clock.
type seconds struct {
	floor int64

	mu   sync.Mutex
	last map[string]int64 // those at or ahead of the clock
}

// maxSeconds bounds the names remembered before the old ones are forgotten.
const maxSeconds = 4096

func newSeconds(start time.Time) *seconds {
	return &seconds{floor: start.Unix() + 1, last: map[string]int64{}}
}

// next is Unix seconds: now, or as soon after it as the name has one left.
func (s *seconds) next(name string, now time.Time) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.last) >= maxSeconds {
		for other, at := range s.last {
			if at < now.Unix() {
				delete(s.last, other)
			}
		}
	}
	at := max(now.Unix(), s.floor)
	if last, known := s.last[name]; known {
		at = max(at, last+1)
	}
	s.last[name] = at
	return at
}

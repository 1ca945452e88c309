package deliveries

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/theforeman/foreman-relay/relay"
)

// DefaultWindow is how long a delivery is remembered: as long as a settled key.
const DefaultWindow = 7 * 24 * time.Hour

// maxDeliveries bounds what is kept: 512 MiB on the disk, 100 MB in memory.
const maxDeliveries = 32 * segmentSize

// syncInterval is about how much of the record a power cut may take.
const syncInterval = time.Second

// Options open a Record.
type Options struct {
	Dir    string        // made when it is needed; nobody else may write to it
	Window time.Duration // then a delivery is forgotten, a day later at most
	Now    relay.Clock
	Log    zerolog.Logger

	perFile, most int // tests only: others than segmentSize and maxDeliveries
}

// Record is what one drain has delivered (relay.Deliveries).
type Record struct {
	Options

	mu       sync.RWMutex
	segments []*segment // ascending; the last one is written to
	unsynced *os.File   // what was written to since the last sync; nil: nothing
	crowded  bool       // deliveries were forgotten before their time, and that was logged

	stop chan struct{}
	done chan struct{}
}

// Open reads what is kept. A file that cannot be read is logged and left out:
// what it knows may be delivered again. The error is about the directory itself.
func Open(o Options) (*Record, error) {
	o.perFile, o.most = cmp.Or(o.perFile, segmentSize), cmp.Or(o.most, maxDeliveries)
	r := &Record{Options: o, stop: make(chan struct{}), done: make(chan struct{})}
	entries, err := os.ReadDir(o.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("record of deliveries: %w; make it readable for this user, or move it away", err)
	}
	for _, e := range entries {
		s, err := readSegment(o.Dir, e.Name(), dayOf(o.Now()), o.perFile)
		if err != nil {
			o.Log.Error().Err(err).Msg("a part of the record of deliveries cannot be read; what it knows may be delivered again")
		}
		if s != nil {
			r.segments = append(r.segments, s)
		}
	}
	slices.SortFunc(r.segments, func(a, b *segment) int { return cmp.Compare(a.number, b.number) })
	r.forget()
	go r.keep()
	return r, nil
}

// Close syncs what was written. Nothing may be noted afterwards.
func (r *Record) Close() error {
	close(r.stop)
	<-r.done
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.segments) == 0 {
		return nil
	}
	return r.segments[len(r.segments)-1].close()
}

// Done looks a message up (relay.Deliveries).
func (r *Record) Done(m *relay.Message) bool { return r.times(isDelivered, m, 1) > 0 }

// Note writes a delivery down (relay.Deliveries).
func (r *Record) Note(m *relay.Message) error { return r.write(isDelivered, m) }

// Begin writes down that an attempt begins (relay.Deliveries).
func (r *Record) Begin(m *relay.Message) error { return r.write(hasBegun, m) }

// End writes down that it has ended without a delivery (relay.Deliveries).
func (r *Record) End(m *relay.Message) error { return r.write(hasEnded, m) }

// Unended says whether one began and did not end (relay.Deliveries).
func (r *Record) Unended(m *relay.Message) bool {
	begun := r.times(hasBegun, m, math.MaxInt)
	return begun > 0 && begun > r.times(hasEnded, m, math.MaxInt) && !r.Done(m)
}

// times is how often something was written down of a message, up to most.
func (r *Record) times(k kind, m *relay.Message, most int) (n int) {
	p := fingerprintOf(k, m)
	r.mu.RLock()
	defer r.mu.RUnlock()
	for i := len(r.segments) - 1; i >= 0 && n < most; i-- {
		more, err := r.segments[i].times(p, most-n)
		if err != nil {
			r.Log.Error().Err(err).Msg("the record of deliveries cannot be read; the message may be delivered again")
		}
		n += more
	}
	return n
}

func (r *Record) write(k kind, m *relay.Message) error {
	p := fingerprintOf(k, m)
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.current()
	if err == nil {
		err = s.append(p)
	}
	if err != nil {
		return fmt.Errorf("record of deliveries: %w", err)
	}
	r.unsynced = s.file
	return nil
}

// current is the segment to write to: the last one, while it is this day's and
// has room.
func (r *Record) current() (*segment, error) {
	day, number := dayOf(r.Now()), uint64(1)
	if n := len(r.segments); n > 0 {
		last := r.segments[n-1]
		if last.day == day && last.hasRoom() {
			return last, last.openToWrite()
		}
		r.finish(last)
		number = last.number + 1
	}
	s := newSegment(r.Dir, number, day, r.perFile)
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return nil, err
	}
	if err := s.openToWrite(); err != nil {
		return nil, err
	}
	r.segments = append(r.segments, s)
	r.forget()
	return s, nil
}

// finish ends the writing to a segment; the room that it does not need any more
// is given back.
func (r *Record) finish(s *segment) {
	if s.file == nil {
		return
	}
	err := s.close()
	if err == nil && s.hasRoom() {
		err = s.learn(0)
	}
	if err != nil {
		r.Log.Warn().Err(err).Msg("a part of the record of deliveries may not be on the disk")
	}
}

// keep syncs and forgets until Close.
func (r *Record) keep() {
	defer close(r.done)
	t := time.NewTicker(syncInterval)
	defer t.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-t.C:
			r.sync()
			r.mu.Lock()
			r.forget()
			r.mu.Unlock()
		}
	}
}

// sync brings to the disk what was written, while more is written.
func (r *Record) sync() {
	r.mu.Lock()
	f := r.unsynced
	r.unsynced = nil
	r.mu.Unlock()
	if f == nil {
		return
	}
	if err := f.Sync(); err != nil && !errors.Is(err, os.ErrClosed) { // closed: full, and synced with that
		r.Log.Warn().Err(err).Msg("the record of deliveries may not be on the disk; after a power cut the last ones may be delivered again")
	}
}

// forget removes what the window has left behind, and what is too much.
func (r *Record) forget() {
	past, kept := dayOf(r.Now().Add(-r.Window)), 0
	for _, s := range r.segments {
		kept += s.count
	}
	r.segments = slices.DeleteFunc(r.segments, func(s *segment) bool {
		if s.day >= past && kept <= r.most {
			return false
		}
		r.crowd(s.day >= past)
		kept -= s.count
		r.remove(s)
		return true
	})
}

// crowd says once that something goes before its time.
func (r *Record) crowd(early bool) {
	if early && !r.crowded {
		r.crowded = true
		r.Log.Warn().Int("deliveries", r.most).Msg("more is delivered than is remembered; the oldest deliveries are forgotten before the window has passed")
	}
}

// remove removes a file; one that cannot be removed is forgotten all the same.
func (r *Record) remove(s *segment) {
	if err := errors.Join(s.close(), os.Remove(s.path)); err != nil {
		r.Log.Warn().Err(err).Msg("a part of the record of deliveries is past its time and cannot be removed")
	}
}

package deliveries

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// segmentSize is how many fingerprints a file holds: 16 MiB.
const segmentSize = 1 << 20

// chunk is how much of a file is read at one time, in bytes.
const chunk = 256 << 10

// segment is one file: the deliveries of one day, or a part of them, in the order
// in which they were made.
type segment struct {
	path   string
	number uint64 // ascending; the order does not depend on the clock
	day    int64  // since 1970, UTC
	count  int
	file   *os.File // open while it is written to; nil: it is read alone
	known  filter
}

// The name says the format, so that a later one is not read as this one.
const (
	nameFormat = "%08d-%s.v1"
	dayFormat  = "2006-01-02"
)

func dayOf(t time.Time) int64 { return t.Unix() / 86400 }

func dayName(day int64) string { return time.Unix(day*86400, 0).UTC().Format(dayFormat) }

// parseName reads a file's name; false: it is no segment of ours.
func parseName(name string) (number uint64, day int64, ok bool) {
	var date string
	if _, err := fmt.Sscanf(name, "%d-%10s.v1", &number, &date); err != nil {
		return 0, 0, false
	}
	at, err := time.Parse(dayFormat, date)
	if err != nil || fmt.Sprintf(nameFormat, number, date) != name {
		return 0, 0, false
	}
	return number, dayOf(at), true
}

// newSegment is an empty one with room for so many fingerprints.
func newSegment(dir string, number uint64, day int64, room int) *segment {
	return &segment{path: filepath.Join(dir, fmt.Sprintf(nameFormat, number, dayName(day))), number: number, day: day, known: newFilter(room)}
}

// readSegment reads a file of an earlier run; nil: it is no segment of ours. One
// of today gets room for more. One that cannot be read knows nothing, and is not
// written to.
func readSegment(dir, name string, today int64, room int) (*segment, error) {
	number, day, ok := parseName(name)
	if !ok {
		return nil, nil //nolint:nilnil // left alone
	}
	s := &segment{path: filepath.Join(dir, name), number: number, day: day}
	if day != today {
		room = 0
	}
	return s, s.learn(room)
}

// learn makes a filter of what is in the file, with room for so many in all. What
// a torn write left at the end is no whole fingerprint, and is written over.
func (s *segment) learn(room int) error {
	info, err := os.Stat(s.path)
	if err != nil {
		return err
	}
	s.count = int(info.Size() / fingerprintSize)
	known := newFilter(max(s.count, room))
	if err := s.parts(func(part []byte) bool {
		for ; len(part) > 0; part = part[fingerprintSize:] {
			known.add(fingerprint(part[:fingerprintSize]))
		}
		return true
	}); err != nil {
		return err
	}
	s.known = known
	return nil
}

// hasRoom says whether one more is as well known as the others.
func (s *segment) hasRoom() bool { return s.count < s.known.room() }

// append writes one fingerprint behind the last whole one: a write that failed
// halfway is written over by the next.
func (s *segment) append(p fingerprint) error {
	if _, err := s.file.WriteAt(p[:], int64(s.count)*fingerprintSize); err != nil {
		return err
	}
	s.count++
	s.known.add(p)
	return nil
}

// times is how often a fingerprint is in the file, up to most. It looks at the
// newest first: what is asked for was delivered a moment ago, as a rule.
func (s *segment) times(p fingerprint, most int) (n int, err error) {
	if !s.known.mayHave(p) {
		return 0, nil
	}
	err = s.parts(func(part []byte) bool {
		for at := 0; n < most; at += fingerprintSize {
			i := bytes.Index(part[at:], p[:])
			if i < 0 {
				break
			}
			if at += i; at%fingerprintSize == 0 {
				n++
			}
			at -= at % fingerprintSize
		}
		return n < most
	})
	return n, err
}

// parts calls visit for parts of the file, the last first, until it says false.
func (s *segment) parts(visit func(part []byte) bool) error {
	f, err := os.Open(s.path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was read
	buffer := make([]byte, min(chunk, s.count*fingerprintSize))
	for end := s.count * fingerprintSize; end > 0; {
		part := buffer[:min(end, len(buffer))]
		end -= len(part)
		if n, err := f.ReadAt(part, int64(end)); n < len(part) {
			return fmt.Errorf("read %s: %w", s.path, err)
		}
		if !visit(part) {
			break
		}
	}
	return nil
}

// openToWrite makes the file where it is not there yet. Its name is synced with
// its directory: fsync of a file alone need not do that.
func (s *segment) openToWrite() error {
	if s.file != nil {
		return nil
	}
	f, err := os.OpenFile(s.path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	s.file = f
	dir, err := os.Open(filepath.Dir(s.path))
	if err != nil {
		return nil //nolint:nilerr // the name may be lost in a power cut, the deliveries of this second too
	}
	_ = dir.Sync() // the same
	return dir.Close()
}

// close ends the writing, with what was written on the disk.
func (s *segment) close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Sync()
	if closeErr := s.file.Close(); err == nil {
		err = closeErr
	}
	s.file = nil
	return err
}

package deliveries

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// segmentSize is how many deliveries a file holds: 4 MiB.
const segmentSize = 1 << 18

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

// readSegment reads a file of an earlier run; nil: it is no segment of ours. One
// that cannot be read knows nothing, and is not written to.
func readSegment(dir, name string) (*segment, error) {
	number, day, ok := parseName(name)
	if !ok {
		return nil, nil //nolint:nilnil // left alone
	}
	s := &segment{path: filepath.Join(dir, name), number: number, day: day}
	if err := s.read(); err != nil {
		s.count, s.known = segmentSize, nil
		return s, err
	}
	return s, nil
}

// read fills the filter. What a torn write left at the end is no whole
// fingerprint, and is written over.
func (s *segment) read() error {
	f, err := os.Open(s.path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	s.count = int(min(info.Size()/fingerprintSize, segmentSize))
	s.known = newFilter(segmentSize)
	if !s.continues() {
		s.known = newFilter(s.count)
	}
	return s.each(f, s.known.add)
}

// continues says whether there is room for more.
func (s *segment) continues() bool { return s.count < segmentSize }

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

// times is how often a fingerprint is in the file.
func (s *segment) times(p fingerprint) (n int, err error) {
	if len(s.known) == 0 || !s.known.mayHave(p) {
		return 0, nil
	}
	f := s.file
	if f == nil {
		if f, err = os.Open(s.path); err != nil {
			return 0, err
		}
		defer func() { _ = f.Close() }() // it was read
	}
	err = s.each(f, func(q fingerprint) {
		if p == q {
			n++
		}
	})
	return n, err
}

// each calls visit for every fingerprint.
func (s *segment) each(f *os.File, visit func(fingerprint)) error {
	all := make([]byte, s.count*fingerprintSize)
	if n, err := f.ReadAt(all, 0); err != nil && !(errors.Is(err, io.EOF) && n == len(all)) {
		return fmt.Errorf("read %s: %w", s.path, err)
	}
	for ; len(all) > 0; all = all[fingerprintSize:] {
		visit(fingerprint(all[:fingerprintSize]))
	}
	return nil
}

// close ends the writing, with what was written on the disk.
func (s *segment) close() error {
	if s.file == nil {
		return nil
	}
	err := errors.Join(s.file.Sync(), s.file.Close())
	s.file = nil
	return err
}

// openToWrite makes the file where it is not there yet. Its name is synced with
// its directory: fsync of a file alone need not do that.
func (s *segment) openToWrite() error {
	if s.file != nil {
		return nil
	}
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	s.file = f
	dir, err := os.Open(filepath.Dir(s.path))
	if err != nil {
		return nil //nolint:nilerr // the name may be lost in a power cut, the deliveries of this second too
	}
	_ = dir.Sync()
	return dir.Close()
}

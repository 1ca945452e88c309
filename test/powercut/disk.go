package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"
)

// sectorSize is what a disk writes whole or not at all, in bytes.
const sectorSize = 512

var (
	errUnaligned = errors.New("not on whole sectors of the disk")
	errNoPower   = errors.New("the disk has no power")
)

// Disk is a disk with a volatile cache, as most are: what is written is read
// back at once, and survives a power cut only when a flush came after it. At a
// cut a random part of the rest survives, whatever the order in which it was
// written, and of a sector that was written more than once any of its contents:
// a disk may empty its cache as it likes.
//
// It never forgets what was flushed; so whoever loses data on it has not flushed.
type Disk struct {
	// FlushTime is how long a flush takes. Without power in the meantime nothing
	// is flushed: the longer, the more is at stake.
	FlushTime time.Duration

	mu    sync.Mutex
	off   chan struct{} // closed while there is no power
	image *os.File
	size  int64
	cache map[int64][][]byte // by sector: what was written since the last flush, oldest first
}

// OpenDisk opens a disk on an image file of whole sectors. Close ends it, as a
// cut that keeps nothing.
func OpenDisk(path string) (*Disk, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Size()%sectorSize != 0 {
		err = fmt.Errorf("%s: %d bytes: %w", path, info.Size(), errUnaligned)
	}
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, err
	}
	return &Disk{image: f, size: info.Size(), cache: map[int64][][]byte{}, off: make(chan struct{})}, nil
}

// Close closes the image.
func (d *Disk) Close() error { return d.image.Close() }

// Size is in bytes.
func (d *Disk) Size() int64 { return d.size }

// Read reads whole sectors: the last that was written.
func (d *Disk) Read(p []byte, offset int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check(p, offset); err != nil {
		return err
	}
	if _, err := io.ReadFull(io.NewSectionReader(d.image, offset, int64(len(p))), p); err != nil {
		return err
	}
	for at := 0; at < len(p); at += sectorSize {
		if versions := d.cache[(offset+int64(at))/sectorSize]; len(versions) > 0 {
			copy(p[at:at+sectorSize], versions[len(versions)-1])
		}
	}
	return nil
}

// Write writes whole sectors into the cache; with through (FUA) they are on the
// disk before it returns.
func (d *Disk) Write(p []byte, offset int64, through bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check(p, offset); err != nil {
		return err
	}
	for at := 0; at < len(p); at += sectorSize {
		sector := (offset + int64(at)) / sectorSize
		if through {
			delete(d.cache, sector)
			continue
		}
		d.cache[sector] = append(d.cache[sector], slices.Clone(p[at:at+sectorSize]))
	}
	if !through {
		return nil
	}
	_, err := d.image.WriteAt(p, offset)
	return err
}

// Flush returns when all that was written before is on the disk.
func (d *Disk) Flush() error {
	select {
	case <-time.After(d.FlushTime):
	case <-d.powerless(): // one that is under way comes to nothing
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.powered() {
		return errNoPower
	}
	for sector, versions := range d.cache {
		if err := d.keep(sector, versions[len(versions)-1]); err != nil {
			return err
		}
		delete(d.cache, sector)
	}
	return nil
}

// SwitchOff takes the disk's power, at once: from now on everything is
// errNoPower, a flush that is under way too, until after the Cut.
func (d *Disk) SwitchOff() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.powered() {
		close(d.off)
	}
}

func (d *Disk) powerless() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.off
}

// powered is for holders of mu.
func (d *Disk) powered() bool {
	select {
	case <-d.off:
		return false
	default:
		return true
	}
}

// Cut is what a power cut leaves, and the power is back: of each sector that was written since the last flush, one
// of its new contents survives with the probability keep, else what was there
// before. It returns how many sectors were at stake, and how many survived. The
// same cache and the same chances give the same disk.
func (d *Disk) Cut(chance *rand.Rand, keep float64) (unflushed, kept int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.powered() {
		d.off = make(chan struct{})
	}
	unflushed = len(d.cache)
	for _, sector := range slices.Sorted(maps.Keys(d.cache)) {
		versions := d.cache[sector]
		delete(d.cache, sector)
		if chance.Float64() >= keep {
			continue
		}
		kept++
		if err := d.keep(sector, versions[chance.IntN(len(versions))]); err != nil {
			return unflushed, kept, err
		}
	}
	return unflushed, kept, nil
}

func (d *Disk) keep(sector int64, content []byte) error {
	_, err := d.image.WriteAt(content, sector*sectorSize)
	return err
}

// check is for holders of mu.
func (d *Disk) check(p []byte, offset int64) error {
	if !d.powered() {
		return errNoPower
	}
	if offset < 0 || offset%sectorSize != 0 || len(p)%sectorSize != 0 || offset > d.size-int64(len(p)) {
		return fmt.Errorf("%d bytes at %d: %w", len(p), offset, errUnaligned)
	}
	return nil
}

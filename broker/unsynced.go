package broker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// ErrUnsynced says that the last run ended with a failed barrier and that
// nobody has looked at the disk since.
var ErrUnsynced = errors.New("the last run could not write everything to the disk")

const (
	markerName = "durability"
	// One page: always overwritten as a whole and in place, so that it needs no
	// space on a full disk.
	markerSize     = 4096
	markerSynced   = "synced\n"
	markerUnsynced = "unsynced\n"
)

// Marker carries one fact over the end of the process: that a barrier failed.
//
// The next start needs it because of what Linux does after a failed write-back:
// it reports the error once, and marks the pages that it could not write as
// clean. They stay in the page cache, so a restarted process would read, and
// answer from, data that the disk does not have, and another fsync or syncfs
// would succeed without writing them. Hence CheckMarker and Reverify at each
// start, before anything is read from the state directory.
//
// The marker itself is only written to the page cache, since the disk has just
// failed: it is needed exactly as long as that cache lives. A reboot drops the
// cache, and with it what the marker warns of.
type Marker struct {
	mu   sync.Mutex
	file *os.File
	set  bool
}

// NewMarker makes the marker in the state directory dir, on the disk, where it is
// not there yet. Where Reverify has to come first the error wraps ErrUnsynced and
// says what the last run noted. Close ends it.
func NewMarker(dir string) (*Marker, error) {
	unsynced, reason, err := lookAtMarker(dir)
	if err != nil {
		return nil, err
	}
	if unsynced {
		return nil, fmt.Errorf("%w: %s", ErrUnsynced, reason)
	}
	f, err := resetMarker(dir)
	if err != nil {
		return nil, err
	}
	return &Marker{file: f}, nil
}

// Failed notes that a barrier failed, and why; the first reason stays. It
// allocates nothing on the disk and does not wait for it. It cannot write where
// the failure made the filesystem read-only; NewMarker, which has to write too,
// then refuses the next start until the filesystem is mounted anew, and that
// drops the cache.
func (m *Marker) Failed(reason error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.set {
		return nil
	}
	text := fmt.Sprintf("%s%s %v\n", markerUnsynced, time.Now().UTC().Format(time.RFC3339), reason)
	if _, err := m.file.WriteAt(markerPage(text), 0); err != nil {
		return fmt.Errorf("noting the failed barrier: %w", err)
	}
	m.set = true
	return nil
}

// Close closes the file; what it says stays.
func (m *Marker) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.file.Close()
}

// CheckMarker says whether the last run over the state directory dir ended with
// a failed barrier. Without a marker there was no run. The mode of this run does
// not matter: a marker of a run with a barrier counts for one without.
func CheckMarker(dir string) (unsynced bool, err error) {
	unsynced, _, err = lookAtMarker(dir)
	return unsynced, err
}

// Reverify makes what is read from the state directory dir from now on what the
// disk has: it syncs, drops every regular file from the page cache, and resets
// the marker. Nothing may use the directory meanwhile. After an error the marker
// stands, and the start must be refused.
func Reverify(dir string) error {
	if err := reverify(dir); err != nil {
		return fmt.Errorf("reading %s from the disk anew: %w: look at the kernel's log, mend or replace the disk, then start again", dir, err)
	}
	f, err := resetMarker(dir)
	if err != nil {
		return err
	}
	return f.Close()
}

func reverify(dir string) error {
	d, err := OpenStateDir(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }() // only read
	// Only clean pages can be dropped.
	if err := SyncFS(d)(); err != nil {
		return err
	}
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		return dropCached(path)
	})
}

// resetMarker writes "synced" to the disk and returns the open file.
func resetMarker(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, markerName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, explain(dir, "cannot be written", err)
	}
	_, err = f.WriteAt(markerPage(markerSynced), 0)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return nil, explain(dir, "cannot be written", closeAfter(f, err))
	}
	return f, nil
}

func lookAtMarker(dir string) (unsynced bool, reason string, err error) {
	f, err := os.Open(filepath.Join(dir, markerName))
	if errors.Is(err, fs.ErrNotExist) {
		return false, "", nil
	}
	if err != nil {
		return false, "", fmt.Errorf("looking how the last run ended: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	if unsynced, reason, err = readMarker(f); err != nil {
		return false, "", fmt.Errorf("looking how the last run ended: %w", err)
	}
	return unsynced, reason, nil
}

// readMarker takes what it cannot read for "unsynced": looking at the disk once
// too often costs little.
func readMarker(f *os.File) (unsynced bool, reason string, err error) {
	page, err := io.ReadAll(io.NewSectionReader(f, 0, markerSize))
	if err != nil {
		return false, "", err
	}
	if bytes.HasPrefix(page, []byte(markerSynced)) {
		return false, "", nil
	}
	note, found := bytes.CutPrefix(page, []byte(markerUnsynced))
	if !found {
		return true, "the note about it cannot be read", nil
	}
	return true, string(bytes.TrimSpace(note)), nil
}

// markerPage pads text to the marker's size, or cuts it.
func markerPage(text string) []byte {
	page := bytes.Repeat([]byte(" "), markerSize)
	copy(page[:markerSize-1], text)
	page[markerSize-1] = '\n'
	return page
}

// syncDir makes a new name in dir survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		return closeAfter(d, err)
	}
	return d.Close()
}

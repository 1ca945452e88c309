package broker

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// ErrLocked says that another process owns the state directory.
var ErrLocked = errors.New("the state directory is in use")

const lockName = "lock"

// DirLock is the ownership of a state directory. The broker does not lock its
// store, and two that open it lose acknowledged messages.
//
// The kernel holds the lock for the process: it is free at the moment the
// process is gone, however it ended, and no child inherits it. So a lock that is
// taken proves that its holder lives, and the file itself means nothing.
type DirLock struct{ file, dir *os.File }

// LockDir makes dir where it is not there yet and owns it until Unlock or the
// end of the process. The error says what to do; it wraps ErrLocked and names
// the holder when there is one.
func LockDir(dir string) (*DirLock, error) {
	if dir == "" {
		return nil, errors.New("no state directory is given: set --state-dir")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, explain(dir, "cannot be made", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, explain(dir, "cannot be locked", err)
	}
	if err := flock(f); err != nil {
		return nil, closeAfter(f, taken(dir, f, err))
	}
	d, err := lockItself(dir, f)
	if err != nil {
		return nil, closeAfter(f, err)
	}
	sign(f)
	return &DirLock{file: f, dir: d}, nil
}

// Unlock gives the directory up. The file stays: removing it could take it from
// under the next owner. Unlocking again is harmless.
func (l *DirLock) Unlock() error {
	// A directory that could not be locked need not be unlockable either.
	_ = funlock(l.dir)
	err := errors.Join(funlock(l.file), l.dir.Close(), l.file.Close())
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// lockItself locks the directory besides the file, for somebody may delete the
// file, thinking it stale, while its holder runs. Filesystems that cannot lock a
// directory (NFS) do without.
func lockItself(dir string, lockFile *os.File) (*os.File, error) {
	d, err := OpenStateDir(dir)
	if err != nil {
		return nil, explain(dir, "cannot be locked", err)
	}
	if err := flock(d); errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, closeAfter(d, taken(dir, lockFile, err))
	}
	return d, nil
}

// sign writes who holds the lock. It is for people only, so that a disk too full
// for it keeps nobody from starting.
func sign(f *os.File) {
	host, _ := os.Hostname()
	text := fmt.Sprintf("pid %d\nhost %s\nsince %s\n", os.Getpid(), host, time.Now().UTC().Format(time.RFC3339))
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(text), 0)
	}
}

// holder reads what sign wrote: "process 12 on host a since …", as far as it is
// there.
func holder(f *os.File) string {
	text := "another process"
	lines := bufio.NewScanner(io.NewSectionReader(f, 0, 1024))
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), " ")
		switch key {
		case "pid":
			text = "process " + value
		case "host":
			text += " on " + value
		case "since":
			text += " since " + value
		}
	}
	return text
}

// taken explains why flock failed.
func taken(dir string, f *os.File, err error) error {
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("%w: %s is held by %s: stop that one, or choose another --state-dir (deleting the lock file does not help)",
			ErrLocked, dir, holder(f))
	}
	return fmt.Errorf("state directory %s cannot be locked: choose a --state-dir on a filesystem that can lock files, a local one best: %w", dir, err)
}

// explain says what to do about a directory that cannot be had.
func explain(dir, what string, err error) error {
	advice := "choose another --state-dir"
	switch {
	case errors.Is(err, fs.ErrPermission):
		advice = fmt.Sprintf("make it for user %d and writable for that user only (install -d -m 0700 -o %d %s), or choose another --state-dir", os.Geteuid(), os.Geteuid(), dir)
	case errors.Is(err, syscall.ENOTDIR):
		advice = "a file is where a directory should be: move it away, or choose another --state-dir"
	case errors.Is(err, syscall.EROFS):
		advice = "the filesystem is read-only: mount it writable (the kernel's log says if an error made it so), or choose another --state-dir"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		advice = "the filesystem is full: free some space, or choose another --state-dir"
	}
	return fmt.Errorf("state directory %s %s: %s: %w", dir, what, advice, err)
}

package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Holder says who owns the state directory dir, as its lock file was signed;
// empty when nobody does. It takes no lock, which could be in the way of a relay
// that is just being started: it reads what the kernel says of all locks. The
// error wraps errors.ErrUnsupported where that cannot be read.
func Holder(dir string) (string, error) {
	f, err := os.Open(filepath.Join(dir, lockName))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look at the lock: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("look at the lock: %w", err)
	}
	locks, err := os.ReadFile("/proc/locks")
	st, known := info.Sys().(*syscall.Stat_t)
	if err != nil || !known {
		return "", fmt.Errorf("who holds the lock is not known here: %w", errors.ErrUnsupported)
	}
	if !flocked(string(locks), st.Ino) {
		return "", nil
	}
	return holder(f), nil
}

// flocked looks for a lock in the text of proc_locks(5), whose lines read
// "1: FLOCK  ADVISORY  WRITE 4711 fe:00:131074 0 EOF". The device is left out:
// filesystems with subvolumes show another one than stat(2) does.
func flocked(locks string, inode uint64) bool {
	for line := range strings.SplitSeq(locks, "\n") {
		f := strings.Fields(line)
		if len(f) >= 6 && f[1] == "FLOCK" && strings.HasSuffix(f[5], fmt.Sprintf(":%d", inode)) {
			return true
		}
	}
	return false
}

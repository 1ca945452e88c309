package broker

import (
	"fmt"
	"os"
	"syscall"
)

// OpenStateDir opens the directory that a Barrier syncs. Open it before the
// broker writes anything: the kernel reports a write-back error only to
// descriptors that were open when it happened (errors that nobody has seen yet
// also to the next one). The caller closes it, after the Barrier.
func OpenStateDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the state directory: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.IsDir() {
		err = &os.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
	}
	if err != nil {
		return nil, fmt.Errorf("opening the state directory: %w", closeAfter(f, err))
	}
	return f, nil
}

// SyncFS is what a Barrier calls: it writes out the whole filesystem that holds
// dir and waits until the disk has it. It fails once the filesystem has become
// read-only: kernels before 5.17 answer syncfs on one with success and do
// nothing, and ext4 becomes read-only when its journal cannot be written.
//
// The function keeps dir alive. A file that is only reachable through its
// number is closed by its finalizer, and the number may by then be another
// file's; the same goes for a file that was closed, hence the raw connection.
func SyncFS(dir *os.File) func() error {
	return func() error {
		conn, err := dir.SyscallConn()
		if err != nil {
			return err
		}
		var failed error
		if err := conn.Control(func(fd uintptr) { failed = syncFilesystem(int(fd)) }); err != nil {
			return err
		}
		return failed
	}
}

// closeAfter gives up on f and returns err.
func closeAfter(f *os.File, err error) error {
	_ = f.Close() // nothing was written; err says more
	return err
}

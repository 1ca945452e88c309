//go:build linux

package broker

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func syncFilesystem(fd int) error {
	if err := unix.Syncfs(fd); err != nil {
		return os.NewSyscallError("syncfs", err)
	}
	var st unix.Statfs_t
	for {
		err := unix.Fstatfs(fd, &st)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return os.NewSyscallError("fstatfs", err)
		}
		if st.Flags&unix.ST_RDONLY != 0 {
			return os.NewSyscallError("syncfs", unix.EROFS)
		}
		return nil
	}
}

// dropCached makes the next read of a regular file come from the disk. Dirty
// pages stay, so the filesystem is synced before.
func dropCached(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := conn.Control(func(fd uintptr) { failed = unix.Fadvise(int(fd), 0, 0, unix.FADV_DONTNEED) }); err != nil {
		return err
	}
	if failed != nil {
		return &os.PathError{Op: "fadvise", Path: path, Err: failed}
	}
	return nil
}

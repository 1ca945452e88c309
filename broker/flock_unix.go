//go:build unix && !aix && !solaris

package broker

import (
	"errors"
	"os"
	"syscall"
)

// flock takes the exclusive lock or fails at once, with EWOULDBLOCK where
// another open file has it, of this process or of another.
func flock(f *os.File) error { return flockAs(f, syscall.LOCK_EX|syscall.LOCK_NB) }

// funlock gives it up at once. Closing alone would leave it to a child that is
// just being started, until that has come to its exec.
func funlock(f *os.File) error { return flockAs(f, syscall.LOCK_UN) }

func flockAs(f *os.File, how int) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		for {
			failed = syscall.Flock(int(fd), how)
			if !errors.Is(failed, syscall.EINTR) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	return os.NewSyscallError("flock", failed)
}

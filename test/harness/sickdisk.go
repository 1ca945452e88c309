package harness

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// What a disk can do to the filesystem at dir, which Mount has made: Freeze and
// Thaw make it answer no write for a while, Break makes every write fail as if the
// disk were gone, and Repair mounts it again.

// ioctl requests of Linux (linux/fs.h, ext4.h), the same on amd64 and arm64.
const (
	fiFreeze     = 0xc0045877
	fiThaw       = 0xc0045878
	ext4Shutdown = 0x8004587d
	noFlush      = 2 // of ext4Shutdown: what is in memory only is lost
)

// Freeze makes every write to dir wait until Thaw.
func Freeze(t testing.TB, dir string) {
	t.Helper()
	require.NoError(t, ioctl(dir, fiFreeze, nil))
	t.Cleanup(func() { _ = ioctl(dir, fiThaw, nil) }) // it may be thawed already
}

// Thaw lets the writes go on.
func Thaw(t testing.TB, dir string) {
	t.Helper()
	require.NoError(t, ioctl(dir, fiThaw, nil))
}

// Break makes every write to dir fail, and loses what is not on the disk.
func Break(t testing.TB, dir string) {
	t.Helper()
	how := uint32(noFlush)
	require.NoError(t, ioctl(dir, ext4Shutdown, &how))
}

// Repair mounts dir again; nothing may use it any more.
func Repair(t testing.TB, dir string) {
	t.Helper()
	require.Empty(t, command("umount", dir))
	require.Empty(t, command("mount", "-o", "loop", filepath.Join(filepath.Dir(dir), "image"), dir))
}

// Ail makes the kernel find an error in the filesystem at dir: with the option
// errors=remount-ro it is read-only from then on.
func Ail(t testing.TB, dir string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/mounts")
	require.NoError(t, err)
	for line := range strings.SplitSeq(string(mounts), "\n") {
		if f := strings.Fields(line); len(f) > 1 && f[1] == dir {
			require.NoError(t, os.WriteFile("/sys/fs/ext4/"+filepath.Base(f[0])+"/trigger_fs_error", []byte("by a test"), 0o200))
			return
		}
	}
	require.Fail(t, "nothing is mounted", dir)
}

// ioctl makes one request to the filesystem of dir; value may be nil.
func ioctl(dir string, request uintptr, value *uint32) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // nothing was written
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(value))); errno != 0 {
		return os.NewSyscallError("ioctl", errno)
	}
	return nil
}

package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// What a disk can do to the filesystem at dir, which Mount has made: Freeze and
// Thaw make it answer no write for a while, Throttle makes it slow, Break makes
// every write fail as if the disk were gone, Ail makes it read-only, and Repair
// mounts it again.

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

// throttles is where cgroups of the first version bound a device for everybody.
const throttles = "/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device"

// Throttle makes the device under dir write that many bytes a second, until the
// returned function is called; reason says why not, where it cannot be had.
func Throttle(t testing.TB, dir string, bps int) (stop func(), reason string) {
	t.Helper()
	if _, err := os.Stat(throttles); err != nil {
		return nil, "no device can be throttled here: " + err.Error()
	}
	number, err := os.ReadFile("/sys/block/" + device(t, dir) + "/dev")
	require.NoError(t, err)
	set := func(bps int) error {
		return os.WriteFile(throttles, fmt.Appendf(nil, "%s %d", strings.TrimSpace(string(number)), bps), 0o200)
	}
	if err := set(bps); err != nil {
		return nil, "no device can be throttled here: " + err.Error()
	}
	stop = sync.OnceFunc(func() { require.NoError(t, set(0)) })
	t.Cleanup(stop)
	return stop, ""
}

// Ail makes the kernel find an error in the filesystem at dir: with the option
// errors=remount-ro it is read-only from then on.
func Ail(t testing.TB, dir string) {
	t.Helper()
	require.NoError(t, os.WriteFile("/sys/fs/ext4/"+device(t, dir)+"/trigger_fs_error", []byte("by a test"), 0o200))
}

// device is the name of the block device that is mounted at dir.
func device(t testing.TB, dir string) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/mounts")
	require.NoError(t, err)
	for line := range strings.SplitSeq(string(mounts), "\n") {
		if f := strings.Fields(line); len(f) > 1 && f[1] == dir {
			return filepath.Base(f[0])
		}
	}
	require.Fail(t, "nothing is mounted", dir)
	return ""
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

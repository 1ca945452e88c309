//go:build linux

package broker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Probe collects the facts about the filesystem that holds dir, which must
// exist. Symbolic links are followed.
func Probe(dir string) (Facts, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Facts{}, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return Facts{}, err
	}
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return Facts{}, err
	}
	mounts, err := parseMountinfo(string(text))
	if err != nil {
		return Facts{}, err
	}
	m, ok := holding(mounts, mountID(dir), dir)
	if !ok {
		return Facts{}, fmt.Errorf("no mount in /proc/self/mountinfo holds %s", dir)
	}
	kernel, err := kernelVersion()
	if err != nil {
		return Facts{}, err
	}
	f := Facts{Mount: m, Kernel: kernel, Below: below(mounts, dir)}
	if m.FSType == "ext4" {
		f.probeExt4()
	}
	return f, nil
}

// mountID is 0 where the kernel cannot tell (before Linux 5.8).
func mountID(dir string) int {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, dir, 0, unix.STATX_MNT_ID, &st)
	if err != nil || st.Mask&unix.STATX_MNT_ID == 0 {
		return 0
	}
	return int(st.Mnt_id)
}

func kernelVersion() (Kernel, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Kernel{}, os.NewSyscallError("uname", err)
	}
	return parseKernel(unix.ByteSliceToString(u.Release[:]))
}

// probeExt4 reads the options in force. The directory in /proc/fs/ext4 is named
// as the block device is in sysfs ("vda1", "dm-0"), which mountinfo's source
// ("/dev/root", "/dev/mapper/…") is not.
func (f *Facts) probeExt4() {
	device, err := os.Readlink("/sys/dev/block/" + f.Device)
	if err != nil {
		device = f.Source
	}
	text, err := os.ReadFile(filepath.Join("/proc/fs/ext4", filepath.Base(device), "options"))
	if err != nil {
		f.DefaultsUnknown = true
		return
	}
	f.addExt4Options(string(text))
}

// DiskSpace looks at the filesystem that holds dir.
func DiskSpace(dir string) (Space, error) {
	var st unix.Statfs_t
	var err error
	for {
		err = unix.Statfs(dir, &st)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return Space{}, fmt.Errorf("looking for free space: %w", &os.PathError{Op: "statfs", Path: dir, Err: err})
	}
	// The counts are in fragments, which some filesystems leave at zero.
	size := uint64(st.Frsize)
	if size == 0 {
		size = uint64(st.Bsize)
	}
	return Space{Free: bytesOf(st.Bavail, size), Total: bytesOf(st.Blocks, size),
		FilesFree: bytesOf(st.Ffree, 1), Files: bytesOf(st.Files, 1), ReadOnly: st.Flags&unix.ST_RDONLY != 0}, nil
}

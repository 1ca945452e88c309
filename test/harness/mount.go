package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// mountTimeout bounds each of mkfs, mount and umount.
const mountTimeout = 30 * time.Second

// Mount mounts a filesystem of the test's own: kind is tmpfs, or what there is
// an mkfs for, of size bytes in a file; options are mount(8)'s, or empty. An ext4
// of 16 MiB or more has a journal. The directory is empty but for lost+found.
//
// Where that is not possible (no root, no loop devices, no mkfs, a sandbox) dir is
// empty and reason says why: the caller decides whether the test goes on.
//
// The filesystem goes with the test, failed or not. What works in it must be
// started after Mount, so that it is ended before.
func Mount(t testing.TB, kind string, size int64, options string) (dir, reason string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return "", "only root may mount a " + kind
	}
	base, err := os.MkdirTemp("", "foreman-relay-mount-") // not t.TempDir: nothing may be removed below a mount that stays
	if err != nil {
		return "", err.Error()
	}
	dir = filepath.Join(base, kind)
	if reason = mount(base, dir, kind, size, options); reason != "" {
		_ = os.RemoveAll(base) // nothing is mounted there
		return "", reason
	}
	t.Cleanup(func() { unmount(t, base, dir) })
	return dir, ""
}

func mount(base, dir, kind string, size int64, options string) (reason string) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err.Error()
	}
	if kind == "tmpfs" {
		return command("mount", "-t", kind, "-o", join("size="+strconv.FormatInt(size, 10), options), kind, dir)
	}
	image := filepath.Join(base, "image")
	if err := sparse(image, size); err != nil {
		return err.Error()
	}
	if reason = command("mkfs."+kind, mkfsOptions(kind, image)...); reason != "" {
		return reason
	}
	return command("mount", "-t", kind, "-o", join("loop", options), image, dir) // the loop device goes with the mount
}

// mkfsOptions make a full ext4 full for root too, and leave the kernel nothing
// to do in the background.
func mkfsOptions(kind, image string) []string {
	if kind == "ext4" {
		return []string{"-q", "-F", "-m", "0", "-O", "has_journal", "-E", "lazy_itable_init=0,lazy_journal_init=0", image}
	}
	return []string{"-q", image}
}

// unmount leaves nothing behind: what is still in use is detached, and the test
// told.
func unmount(t testing.TB, base, dir string) {
	if reason := command("umount", dir); reason != "" {
		t.Errorf("%s; something of the test still uses it, so it is detached", reason)
		if reason = command("umount", "-l", dir); reason != "" {
			t.Errorf("%s: unmount it by hand", reason)
			return
		}
	}
	if err := os.RemoveAll(base); err != nil {
		t.Error(err)
	}
}

func sparse(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // nothing was written
	return f.Truncate(size)
}

func join(first, more string) string { return strings.TrimSuffix(first+","+more, ",") }

// command runs a tool of the system and says what went wrong, if anything.
func command(name string, args ...string) (reason string) {
	ctx, cancel := context.WithTimeout(context.Background(), mountTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	// mkfs and losetup live where not every PATH looks.
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if cmd.Err != nil {
		for _, dir := range []string{"/usr/sbin", "/sbin"} {
			if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				cmd.Path, cmd.Err = path, nil
				break
			}
		}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s %s: %v: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return ""
}

package broker

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Mode is what an operator asks for: how safe a message must be before its
// sender is told that it was accepted.
type Mode string

// The modes. Only the last three are ever in effect; ModeFsync chooses between
// ModeBarrier and ModeAlways and is the default.
const (
	// ModeFsync promises that an accepted message survives a power cut, and
	// takes the fastest way that is known to keep the promise.
	ModeFsync Mode = "fsync"
	// ModeBarrier keeps it with one syncfs(2) for all requests that wait.
	ModeBarrier Mode = "fsync-barrier"
	// ModeAlways keeps it with an fsync(2) for every message.
	ModeAlways Mode = "fsync-always"
	// ModeOS promises only that an accepted message survives the process.
	ModeOS Mode = "os"
)

// ErrUnknownMode says that a mode does not exist; ErrModeRefused that the
// filesystem of the state directory cannot keep what the mode promises.
var (
	ErrUnknownMode = errors.New("unknown durability")
	ErrModeRefused = errors.New("durability refused")
)

// Modes are all modes, the default first.
func Modes() []Mode { return []Mode{ModeFsync, ModeBarrier, ModeAlways, ModeOS} }

// ParseMode reads a mode as an operator writes it; nothing means the default.
// The error wraps ErrUnknownMode and lists the choices.
func ParseMode(s string) (Mode, error) {
	if s == "" {
		return ModeFsync, nil
	}
	if m := Mode(s); slices.Contains(Modes(), m) {
		return m, nil
	}
	names := make([]string, 0, len(Modes()))
	for _, m := range Modes() {
		names = append(names, string(m))
	}
	return "", fmt.Errorf("%w %q: choose one of %s", ErrUnknownMode, s, strings.Join(names, ", "))
}

// Choice is what a mode comes to on one filesystem.
type Choice struct {
	// Effective is ModeBarrier, ModeAlways or ModeOS.
	Effective Mode
	// Reason says in one line why, and what may be lost where anything may.
	Reason string
	// Remedy says in one line how to get something better; empty when there is
	// nothing to mend.
	Remedy string
}

// String is the name that a receipt carries.
func (c Choice) String() string { return string(c.Effective) }

// Choose decides how a mode is kept on the filesystem that f describes. It is
// pure. The error wraps ErrUnknownMode or ErrModeRefused and says what to do.
//
// The barrier is chosen only where power cuts were tried and nothing accepted
// was lost: ext4 with a journal and its default rename safety, Linux 5.8 or
// newer. The broker rewrites a sparse block into a new file and renames it
// without an fsync unless it syncs always, so messages accepted long ago hang
// on what the filesystem does about such a rename; XFS lost them.
func Choose(mode Mode, f Facts) (Choice, error) {
	mode, err := ParseMode(string(mode))
	if err != nil {
		return Choice{}, err
	}
	if mode == ModeOS {
		return Choice{Effective: ModeOS, Reason: osReason}, nil
	}
	if why := forgets(f); why != "" {
		return Choice{}, fmt.Errorf(`%w: %q cannot be kept because %s: choose another --state-dir, on a disk, or "--durability os" if losing data at a power cut is fine`,
			ErrModeRefused, mode, why)
	}
	flaw, flawed := barrierFlaw(f)
	switch {
	case mode == ModeBarrier && flawed:
		return Choice{}, fmt.Errorf("%w: %q is not safe because %s: choose \"--durability fsync\", or %s",
			ErrModeRefused, mode, flaw.reason, flaw.remedy)
	case flawed && (mode == ModeFsync || flaw.fsyncToo):
		return Choice{Effective: ModeAlways, Reason: flaw.reason, Remedy: flaw.remedy}, nil
	case mode == ModeAlways:
		return Choice{Effective: ModeAlways, Reason: "every message is synced by itself, as configured"}, nil
	}
	return Choice{Effective: ModeBarrier, Reason: "ext4 with its default rename safety on Linux " + f.Kernel.String()}, nil
}

const osReason = "an accepted message is in the operating system's cache only: it survives the process, " +
	"but a power cut or a crash of the system may lose what was accepted since the last background sync, and a new queue as a whole"

// forgets says why the filesystem, or one mounted below the state directory,
// keeps nothing over a power cut; empty when it keeps what is synced. A volatile
// overlay shows as "volatile", or as "fsync=volatile" on kernels where the former
// has become an alias of the latter.
func forgets(f Facts) string {
	for _, m := range append([]Mount{f.Mount}, f.Below...) {
		switch {
		case inMemory(m.FSType):
			return fmt.Sprintf("%s at %s is in memory", m.FSType, m.MountPoint)
		case m.FSType == "overlay" && (m.has("volatile") || m.has("fsync=volatile")):
			return fmt.Sprintf("the overlay at %s is mounted volatile, which skips every sync", m.MountPoint)
		}
	}
	return ""
}

func inMemory(fsType string) bool {
	switch fsType {
	case "tmpfs", "ramfs", "devtmpfs", "rootfs", "hugetlbfs":
		return true
	}
	return false
}

// flaw is why the barrier is not trusted.
type flaw struct {
	reason, remedy string
	// fsyncToo says that the flaw weakens fsync(2) as well, so that it is worth
	// saying even to those who chose ModeAlways.
	fsyncToo bool
}

const ext4Remedy = "put --state-dir on a local ext4 with default mount options, where one sync serves many messages"

func barrierFlaw(f Facts) (flaw, bool) {
	switch {
	case f.FSType == "":
		return flaw{reason: "what filesystem holds the state directory is not known here", remedy: ext4Remedy}, true
	case f.FSType == "overlay":
		return flaw{
			reason: "the state directory is on an overlay (a container's own layer?), where the durability barrier is not proven",
			remedy: "mount a volume on a local ext4 at --state-dir; the layer would go with the container anyway",
		}, true
	case f.FSType != "ext4":
		return flaw{reason: "the durability barrier is proven on ext4 only, not on " + f.FSType, remedy: ext4Remedy}, true
	case !f.Kernel.AtLeast(5, 8):
		return flaw{
			reason: fmt.Sprintf("syncfs reports write-back errors since Linux 5.8 only, and this is %s", f.Kernel),
			remedy: "run Linux 5.8 or newer, where one sync serves many messages",
		}, true
	case len(f.Below) > 0:
		return flaw{
			reason: fmt.Sprintf("another filesystem (%s at %s) is mounted below the state directory, and one syncfs covers one filesystem", f.Below[0].FSType, f.Below[0].MountPoint),
			remedy: "unmount it, or mount it at --state-dir itself",
		}, true
	}
	return ext4Flaw(f)
}

// ext4Flaw looks at what is in force on an ext4, whether mount(8) or the
// superblock's defaults said so.
func ext4Flaw(f Facts) (flaw, bool) {
	switch {
	case f.has("nobarrier"), f.has("barrier=0"):
		return flaw{
			reason:   "ext4 is mounted with nobarrier: no sync of any kind empties the disk's own cache",
			remedy:   "mount it without nobarrier, unless the disk's cache survives a power cut",
			fsyncToo: true,
		}, true
	case f.has("noauto_da_alloc"), f.has("auto_da_alloc=0"):
		return flaw{
			reason: "ext4 is mounted with noauto_da_alloc: a file that was rewritten and renamed can come back empty after a power cut",
			remedy: "mount it without noauto_da_alloc, and one sync serves many messages",
		}, true
	case f.has("data=writeback"):
		return flaw{
			reason: "ext4 is mounted with data=writeback: a file can come back with its length and without its data after a power cut",
			remedy: "mount it with data=ordered, the default, and one sync serves many messages",
		}, true
	case f.NoJournal:
		return flaw{
			reason: "this ext4 has no journal: syncfs writes the last metadata after it has emptied the disk's cache, and renames are not ordered",
			remedy: `add a journal to the unmounted filesystem ("tune2fs -O has_journal"), and one sync serves many messages`,
		}, true
	case f.DefaultsUnknown:
		return flaw{
			reason: "the defaults in ext4's superblock cannot be read: mountinfo hides them, and /proc/fs/ext4 is not there (a sandbox with ProcSubset=pid?)",
			remedy: "make /proc/fs/ext4 readable for the relay, and one sync serves many messages",
		}, true
	}
	return flaw{}, false
}

package broker

import (
	"fmt"
	"math"
	"math/bits"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Facts are what Choose has to know about a state directory. Probe collects
// them; the zero value knows nothing, and gets ModeAlways.
type Facts struct {
	// Mount holds the directory.
	Mount
	// Kernel is Linux's version; zero on other systems.
	Kernel Kernel
	// Below are the mounts below the directory: one syncfs does not cover them.
	Below []Mount
	// NoJournal says that an ext4 was made without a journal.
	NoJournal bool
	// DefaultsUnknown says that the options that an ext4's superblock sets by
	// default (tune2fs -o) could not be read. /proc/self/mountinfo shows only
	// what differs from them, so nobarrier or data=writeback may be in force
	// and not be seen.
	DefaultsUnknown bool
}

// Mount is one line of /proc/self/mountinfo, see proc_pid_mountinfo(5).
type Mount struct {
	ID int
	// Device is "major:minor".
	Device       string
	MountPoint   string
	MountOptions []string
	// FSType may have a subtype, as in "fuse.sshfs".
	FSType       string
	Source       string
	SuperOptions []string
}

func (m Mount) has(option string) bool {
	return slices.Contains(m.SuperOptions, option) || slices.Contains(m.MountOptions, option)
}

// Kernel is a version of Linux as far as it matters here.
type Kernel struct{ Major, Minor int }

// AtLeast says whether k is that version or a newer one.
func (k Kernel) AtLeast(major, minor int) bool {
	return k.Major > major || k.Major == major && k.Minor >= minor
}

func (k Kernel) String() string { return fmt.Sprintf("%d.%d", k.Major, k.Minor) }

// parseKernel reads the release of uname(2): "6.18.44", "5.10.0-8-amd64",
// "4.19".
func parseKernel(release string) (Kernel, error) {
	major, rest := leadingNumber(release)
	minor, _ := leadingNumber(strings.TrimPrefix(rest, "."))
	if major < 0 || minor < 0 || !strings.HasPrefix(rest, ".") {
		return Kernel{}, fmt.Errorf("kernel release %q does not begin with a version", release)
	}
	return Kernel{Major: major, Minor: minor}, nil
}

// leadingNumber is -1 where s does not begin with one.
func leadingNumber(s string) (int, string) {
	end := 0
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	n, err := strconv.Atoi(s[:end])
	if err != nil {
		return -1, s
	}
	return n, s[end:]
}

// parseMountinfo reads all of /proc/self/mountinfo. A line that cannot be read
// is an error: leaving it out could take the directory for a part of the mount
// above.
func parseMountinfo(text string) ([]Mount, error) {
	var mounts []Mount
	for line := range strings.SplitSeq(text, "\n") {
		if line == "" {
			continue
		}
		m, ok := parseMount(line)
		if !ok {
			return nil, fmt.Errorf("mountinfo: cannot read the line %q", line)
		}
		mounts = append(mounts, m)
	}
	return mounts, nil
}

// parseMount reads "36 35 98:0 /root /point rw,noatime shared:1 - ext4 /dev/x rw,errors=continue":
// six fields, any number of optional ones, a lone "-", and three more. One space
// divides them, and the source may be empty, so strings.Fields would be wrong.
func parseMount(line string) (Mount, bool) {
	left, right, ok := strings.Cut(line, " - ")
	fields := strings.Split(left, " ")
	if !ok || len(fields) < 6 {
		return Mount{}, false
	}
	tail := strings.SplitN(right, " ", 3)
	id, err := strconv.Atoi(fields[0])
	point := unescape(fields[4])
	if len(tail) < 3 || err != nil || !path.IsAbs(point) || tail[0] == "" {
		return Mount{}, false
	}
	return Mount{
		ID: id, Device: fields[2], MountPoint: point, MountOptions: options(fields[5]),
		FSType: unescape(tail[0]), Source: unescape(tail[1]), SuperOptions: options(tail[2]),
	}, true
}

// options divides at the commas; a comma within a value is escaped.
func options(s string) []string {
	list := strings.Split(s, ",")
	for i := range list {
		list[i] = unescape(list[i])
	}
	return list
}

// unescape undoes the kernel's octal escapes: \040 for a space, \011 for a tab,
// \012 for a newline, \134 for a backslash, \043 for a hash and \054 for a comma.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// holding finds the mount that holds the absolute, symlink-free dir: by its ID
// where the kernel told it, which is exact even where a later mount hides an
// earlier one, and else by the longest mount point, of which the last one
// covers those before it. An ID of 0 is none.
func holding(mounts []Mount, id int, dir string) (Mount, bool) {
	var best Mount
	for _, m := range mounts {
		if id != 0 && m.ID == id {
			return m, true
		}
		if within(dir, m.MountPoint) && len(m.MountPoint) >= len(best.MountPoint) {
			best = m
		}
	}
	return best, best.MountPoint != ""
}

// below are the mounts under dir, not the one at it.
func below(mounts []Mount, dir string) []Mount {
	var found []Mount
	for _, m := range mounts {
		if m.MountPoint != dir && within(m.MountPoint, dir) {
			found = append(found, m)
		}
	}
	return found
}

// within says whether dir is top or lies below it; both are clean.
func within(dir, top string) bool {
	return dir == top || top == "/" || strings.HasPrefix(dir, top+"/")
}

// addExt4Options adds what /proc/fs/ext4/<device>/options says, one option a
// line: everything in force, by default or not. With a journal there is always
// a line "data=…", without one never.
func (f *Facts) addExt4Options(text string) {
	inForce := strings.Fields(text)
	f.SuperOptions = append(slices.Clone(f.SuperOptions), inForce...)
	f.NoJournal = !slices.ContainsFunc(inForce, func(o string) bool { return strings.HasPrefix(o, "data=") })
}

// Space is how full a filesystem is.
type Space struct {
	Free, Total int64 // bytes; what is reserved for root is not free
	// FilesFree and Files count inodes; 0 of 0 where the filesystem makes them as
	// it needs them.
	FilesFree, Files int64
	ReadOnly         bool
}

const gibibyte = 1 << 30

// Reserve is how much of a filesystem of that size is kept free, so that the
// broker never meets a full disk (it then stops answering until a restart):
// 1 GiB or 5 %, whichever is more, at most 10 GiB. On a small filesystem, where
// 1 GiB would be most of it, at most 10 %.
func Reserve(total int64) int64 {
	return max(0, min(max(total/20, gibibyte), 10*gibibyte, total/10))
}

// bytesOf is blocks times size, at most what an int64 holds: network
// filesystems report "endless" as numbers that do not multiply.
func bytesOf(blocks, size uint64) int64 {
	high, low := bits.Mul64(blocks, size)
	if high != 0 || low > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(low)
}

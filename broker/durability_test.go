package broker

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What each mode comes to, in the order of Modes.
var (
	barrierServes = []string{"fsync-barrier", "fsync-barrier", "fsync-always", "os"}
	alwaysServes  = []string{"fsync-always", "refused", "fsync-always", "os"}
	nothingServes = []string{"refused", "refused", "refused", "os"}
)

func ext4(opts ...string) Facts {
	return Facts{
		Mount:  Mount{FSType: "ext4", MountPoint: "/var/lib/relay", MountOptions: []string{"rw", "relatime"}, SuperOptions: append([]string{"rw"}, opts...)},
		Kernel: Kernel{6, 1},
	}
}

func on(fsType string, opts ...string) Facts {
	f := ext4(opts...)
	f.FSType = fsType
	return f
}

func with(f Facts, change func(*Facts)) Facts {
	change(&f)
	return f
}

func kernel(major, minor int) Facts {
	return with(ext4(), func(f *Facts) { f.Kernel = Kernel{major, minor} })
}

func TestChoose(t *testing.T) {
	for _, tt := range []struct {
		name           string
		facts          Facts
		want           []string
		reason, remedy string // parts of what is said when the barrier does not serve
	}{
		// ext4 and its options; those that change nothing here must not matter.
		{name: "ext4", facts: ext4(), want: barrierServes},
		{name: "ext4 harmless options", facts: ext4("discard", "errors=remount-ro", "commit=30", "lazytime", "stripe=64", "journal_checksum", "nodelalloc"), want: barrierServes},
		{name: "ext4 everything said", facts: ext4("barrier", "auto_da_alloc", "delalloc", "data=ordered"), want: barrierServes},
		{name: "ext4 barrier=1", facts: ext4("barrier=1"), want: barrierServes},
		{name: "ext4 data=journal", facts: ext4("data=journal"), want: barrierServes},
		{name: "ext4 noauto_da_alloc", facts: ext4("noauto_da_alloc"), want: alwaysServes, reason: "renamed", remedy: "without noauto_da_alloc"},
		{name: "ext4 auto_da_alloc=0", facts: ext4("auto_da_alloc=0"), want: alwaysServes, reason: "noauto_da_alloc", remedy: "without noauto_da_alloc"},
		{name: "ext4 nobarrier", facts: ext4("nobarrier"), want: alwaysServes, reason: "disk's own cache", remedy: "without nobarrier"},
		{name: "ext4 barrier=0", facts: ext4("barrier=0"), want: alwaysServes, reason: "disk's own cache", remedy: "without nobarrier"},
		{name: "ext4 data=writeback", facts: ext4("data=writeback"), want: alwaysServes, reason: "data=writeback", remedy: "data=ordered"},
		{name: "ext4 per-mount option", facts: with(ext4(), func(f *Facts) { f.MountOptions = []string{"rw", "nobarrier"} }), want: alwaysServes, reason: "nobarrier"},
		{name: "ext4 volatile is overlay's word", facts: ext4("volatile"), want: barrierServes},
		{name: "ext4 without a journal", facts: with(ext4(), func(f *Facts) { f.NoJournal = true }), want: alwaysServes, reason: "no journal", remedy: "tune2fs"},
		{name: "ext4 with unknown defaults", facts: with(ext4(), func(f *Facts) { f.DefaultsUnknown = true }), want: alwaysServes, reason: "superblock", remedy: "/proc/fs/ext4"},

		// Kernels.
		{name: "Linux 4.19", facts: kernel(4, 19), want: alwaysServes, reason: "this is 4.19", remedy: "5.8 or newer"},
		{name: "Linux 5.7", facts: kernel(5, 7), want: alwaysServes, reason: "this is 5.7", remedy: "5.8 or newer"},
		{name: "Linux 5.8", facts: kernel(5, 8), want: barrierServes},
		{name: "Linux 5.10", facts: kernel(5, 10), want: barrierServes},
		{name: "Linux 6.0", facts: kernel(6, 0), want: barrierServes},
		{name: "Linux 6.18", facts: kernel(6, 18), want: barrierServes},
		{name: "Linux 10.0", facts: kernel(10, 0), want: barrierServes},

		// Overlays.
		{name: "overlay", facts: on("overlay", "lowerdir=/l", "upperdir=/u", "workdir=/w"), want: alwaysServes, reason: "container's own layer", remedy: "mount a volume"},
		{name: "overlay fsync=strict", facts: on("overlay", "fsync=strict"), want: alwaysServes, reason: "overlay"},
		{name: "overlay volatile", facts: on("overlay", "upperdir=/u", "volatile"), want: nothingServes, reason: "skips every sync"},
		{name: "overlay fsync=volatile", facts: on("overlay", "fsync=volatile"), want: nothingServes, reason: "skips every sync"},

		// In memory.
		{name: "tmpfs", facts: on("tmpfs", "size=4k"), want: nothingServes, reason: "tmpfs at /var/lib/relay is in memory"},
		{name: "ramfs", facts: on("ramfs"), want: nothingServes, reason: "in memory"},
		{name: "devtmpfs", facts: on("devtmpfs"), want: nothingServes, reason: "in memory"},
		{name: "rootfs", facts: on("rootfs"), want: nothingServes, reason: "in memory"},
		{name: "hugetlbfs", facts: on("hugetlbfs"), want: nothingServes, reason: "in memory"},

		// Anything else.
		{name: "ext2", facts: on("ext2"), want: alwaysServes, reason: "not on ext2", remedy: "ext4"},
		{name: "ext3", facts: on("ext3"), want: alwaysServes, reason: "not on ext3", remedy: "ext4"},
		{name: "xfs", facts: on("xfs", "attr2"), want: alwaysServes, reason: "not on xfs", remedy: "ext4"},
		{name: "btrfs", facts: on("btrfs"), want: alwaysServes, reason: "not on btrfs", remedy: "ext4"},
		{name: "zfs", facts: on("zfs"), want: alwaysServes, reason: "not on zfs", remedy: "ext4"},
		{name: "f2fs", facts: on("f2fs"), want: alwaysServes, reason: "not on f2fs", remedy: "ext4"},
		{name: "nfs4", facts: on("nfs4"), want: alwaysServes, reason: "not on nfs4", remedy: "ext4"},
		{name: "cifs", facts: on("cifs"), want: alwaysServes, reason: "not on cifs", remedy: "ext4"},
		{name: "9p", facts: on("9p"), want: alwaysServes, reason: "not on 9p", remedy: "ext4"},
		{name: "virtiofs", facts: on("virtiofs"), want: alwaysServes, reason: "not on virtiofs", remedy: "ext4"},
		{name: "fuse", facts: on("fuse.sshfs"), want: alwaysServes, reason: "not on fuse.sshfs", remedy: "ext4"},
		{name: "fuseblk", facts: on("fuseblk"), want: alwaysServes, reason: "not on fuseblk", remedy: "ext4"},
		{name: "unheard of", facts: on("newfs"), want: alwaysServes, reason: "not on newfs", remedy: "ext4"},
		{name: "nothing known", facts: Facts{}, want: alwaysServes, reason: "not known", remedy: "ext4"},

		// One syncfs covers one filesystem.
		{name: "ext4 below", facts: with(ext4(), func(f *Facts) { f.Below = []Mount{ext4().Mount} }), want: alwaysServes, reason: "below the state directory", remedy: "unmount"},
		{name: "tmpfs below", facts: with(ext4(), func(f *Facts) { f.Below = []Mount{ext4().Mount, on("tmpfs").Mount} }), want: nothingServes, reason: "in memory"},
		{name: "volatile overlay below", facts: with(ext4(), func(f *Facts) { f.Below = []Mount{on("overlay", "volatile").Mount} }), want: nothingServes, reason: "skips every sync"},
	} {
		for i, mode := range Modes() {
			t.Run(tt.name+"/"+string(mode), func(t *testing.T) {
				choice, err := Choose(mode, tt.facts)
				if tt.want[i] == "refused" {
					require.ErrorIs(t, err, ErrModeRefused)
					assert.Contains(t, err.Error(), tt.reason)
					assert.Contains(t, err.Error(), tt.remedy)
					assert.Contains(t, err.Error(), `"`+string(mode)+`"`)
					assert.Zero(t, choice)
					oneLine(t, err.Error())
					return
				}
				require.NoError(t, err)
				assert.Equal(t, tt.want[i], choice.String())
				oneLine(t, choice.Reason)
				if choice.Remedy != "" {
					oneLine(t, choice.Remedy)
				}
				if mode == ModeFsync && !slices.Equal(tt.want, barrierServes) {
					assert.Contains(t, choice.Reason, tt.reason)
					assert.Contains(t, choice.Remedy, tt.remedy)
				}
			})
		}
	}
}

func oneLine(t *testing.T, s string) {
	t.Helper()
	assert.NotEmpty(t, s)
	assert.NotContains(t, s, "\n")
	assert.Equal(t, strings.TrimSpace(s), s)
}

func TestChooseSaysWhatToDo(t *testing.T) {
	t.Run("in memory", func(t *testing.T) {
		for _, mode := range []Mode{ModeFsync, ModeBarrier, ModeAlways} {
			_, err := Choose(mode, on("tmpfs"))
			require.ErrorContains(t, err, "choose another --state-dir")
			require.ErrorContains(t, err, `"--durability os" if losing data at a power cut is fine`)
		}
	})
	t.Run("the barrier where it is not trusted", func(t *testing.T) {
		_, err := Choose(ModeBarrier, on("xfs"))
		require.ErrorContains(t, err, `choose "--durability fsync"`)
	})
	t.Run("os says what may be lost", func(t *testing.T) {
		choice, err := Choose(ModeOS, ext4())
		require.NoError(t, err)
		assert.Contains(t, choice.Reason, "power cut")
		assert.Empty(t, choice.Remedy)
	})
	t.Run("the barrier has nothing to mend", func(t *testing.T) {
		choice, err := Choose(ModeFsync, ext4())
		require.NoError(t, err)
		assert.Equal(t, Choice{Effective: ModeBarrier, Reason: "ext4 with its default rename safety on Linux 6.1"}, choice)
	})
	t.Run("always by choice is not a lack", func(t *testing.T) {
		for _, facts := range []Facts{ext4(), on("xfs"), ext4("data=writeback")} {
			choice, err := Choose(ModeAlways, facts)
			require.NoError(t, err)
			assert.Contains(t, choice.Reason, "as configured")
			assert.Empty(t, choice.Remedy)
		}
	})
	t.Run("nobarrier weakens always too", func(t *testing.T) {
		choice, err := Choose(ModeAlways, ext4("nobarrier"))
		require.NoError(t, err)
		assert.Contains(t, choice.Reason, "no sync of any kind")
		assert.NotEmpty(t, choice.Remedy)
	})
}

func TestParseMode(t *testing.T) {
	for _, mode := range Modes() {
		got, err := ParseMode(string(mode))
		require.NoError(t, err)
		assert.Equal(t, mode, got)
	}
	got, err := ParseMode("")
	require.NoError(t, err)
	assert.Equal(t, ModeFsync, got, "nothing is the default")

	for _, wrong := range []string{"always", "FSYNC", "fsync ", "none"} {
		_, err := ParseMode(wrong)
		require.ErrorIs(t, err, ErrUnknownMode)
		require.ErrorContains(t, err, `"`+wrong+`": choose one of fsync, fsync-barrier, fsync-always, os`)
		_, err = Choose(Mode(wrong), ext4())
		require.ErrorIs(t, err, ErrUnknownMode)
	}
}

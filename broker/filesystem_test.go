package broker

import (
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseMountinfo(t *testing.T) {
	for _, tt := range []struct {
		name, line string
		want       Mount
	}{
		{
			name: "no optional field",
			line: `27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard`,
			want: Mount{ID: 27, Device: "254:0", MountPoint: "/", MountOptions: []string{"rw", "relatime"}, FSType: "ext4", Source: "/dev/vda", SuperOptions: []string{"rw", "discard"}},
		},
		{
			name: "one optional field",
			line: `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`,
			want: Mount{ID: 36, Device: "98:0", MountPoint: "/mnt2", MountOptions: []string{"rw", "noatime"}, FSType: "ext3", Source: "/dev/root", SuperOptions: []string{"rw", "errors=continue"}},
		},
		{
			name: "several optional fields",
			line: `40 36 0:30 / /mnt rw shared:5 master:1 propagate_from:2 unbindable - xfs /dev/sdb1 rw`,
			want: Mount{ID: 40, Device: "0:30", MountPoint: "/mnt", MountOptions: []string{"rw"}, FSType: "xfs", Source: "/dev/sdb1", SuperOptions: []string{"rw"}},
		},
		{
			name: "escapes",
			line: `41 36 0:31 / /a\040b\011c\134d\012e rw - fuse.x me\043\040you rw,path=/a\054b`,
			want: Mount{ID: 41, Device: "0:31", MountPoint: "/a b\tc\\d\ne", MountOptions: []string{"rw"}, FSType: "fuse.x", Source: "me# you", SuperOptions: []string{"rw", "path=/a,b"}},
		},
		{
			name: "a mount point that looks like the separator",
			line: `42 36 0:32 / /a\040-\040b rw - tmpfs none rw`,
			want: Mount{ID: 42, Device: "0:32", MountPoint: "/a - b", MountOptions: []string{"rw"}, FSType: "tmpfs", Source: "none", SuperOptions: []string{"rw"}},
		},
		{
			name: "no source",
			line: `43 36 0:33 / /s rw - tmpfs  rw,size=4k`,
			want: Mount{ID: 43, Device: "0:33", MountPoint: "/s", MountOptions: []string{"rw"}, FSType: "tmpfs", SuperOptions: []string{"rw", "size=4k"}},
		},
		{
			name: "a source with a dash and an option with a space",
			line: `44 36 0:34 / /d rw - cifs - rw,user=a b`,
			want: Mount{ID: 44, Device: "0:34", MountPoint: "/d", MountOptions: []string{"rw"}, FSType: "cifs", Source: "-", SuperOptions: []string{"rw", "user=a b"}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseMountinfo(tt.line + "\n")
			require.NoError(t, err)
			assert.Equal(t, []Mount{tt.want}, got)
		})
	}
}

func TestParseMountinfoRefusesWhatItCannotRead(t *testing.T) {
	good := "27 1 254:0 / / rw - ext4 /dev/vda rw\n"
	for name, line := range map[string]string{
		"no separator":          "28 27 0:1 / /x rw ext4 /dev/vda rw",
		"too few fields":        "28 27 0:1 / /x - ext4 /dev/vda rw",
		"no super options":      "28 27 0:1 / /x rw - ext4 /dev/vda",
		"no filesystem":         "28 27 0:1 / /x rw -  /dev/vda rw",
		"no number":             "x 27 0:1 / /x rw - ext4 /dev/vda rw",
		"a relative mountpoint": "28 27 0:1 / x rw - ext4 /dev/vda rw",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseMountinfo(good + line + "\n" + good)
			require.ErrorContains(t, err, line)
		})
	}
	got, err := parseMountinfo("")
	require.NoError(t, err)
	assert.Empty(t, got)
}

func FuzzMountinfo(f *testing.F) {
	f.Add(`27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard`)
	f.Add(`41 36 0:31 / /a\040b\134 rw shared:1 - fuse.x me\043\040you rw,path=/a\054b`)
	f.Add("43 36 0:33 / /s rw - tmpfs  rw\n\n44 36 0:34 / /s/t rw - xfs - rw")
	f.Add(`1 1 0:0 / /\777\08\1 rw - x y z`)
	f.Fuzz(func(t *testing.T, text string) {
		mounts, err := parseMountinfo(text)
		if err != nil {
			return
		}
		for _, m := range mounts {
			if !strings.HasPrefix(m.MountPoint, "/") || m.FSType == "" || len(m.SuperOptions) == 0 {
				t.Fatalf("half a mount: %+v", m)
			}
			if found, ok := holding(mounts, m.ID, "/"); m.ID != 0 && (!ok || found.ID != m.ID) {
				t.Fatalf("mount %d is not found by its ID", m.ID)
			}
			// The kernel escapes, so whatever was read must survive the way back.
			line := strings.Join([]string{"1 1", escape(m.Device), "/", escape(m.MountPoint), "rw -", escape(m.FSType), escape(m.Source), "rw"}, " ")
			again, err := parseMountinfo(line)
			if err != nil || len(again) != 1 || again[0].MountPoint != m.MountPoint || again[0].FSType != m.FSType || again[0].Source != m.Source {
				t.Fatalf("%q reads as %+v (%v), not as %+v", line, again, err, m)
			}
		}
	})
}

// escape does what the kernel does.
func escape(s string) string {
	return strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`).Replace(s)
}

func TestHolding(t *testing.T) {
	mounts := []Mount{
		{ID: 1, MountPoint: "/"},
		{ID: 2, MountPoint: "/var"},
		{ID: 3, MountPoint: "/var/lib"},
		{ID: 4, MountPoint: "/var/lib"},
		{ID: 5, MountPoint: "/var/library"},
		{ID: 6, MountPoint: "/srv/a b"},
	}
	for _, tt := range []struct {
		dir  string
		id   int
		want int
	}{
		{dir: "/", want: 1},
		{dir: "/home/x", want: 1},
		{dir: "/var", want: 2},
		{dir: "/various", want: 1},
		{dir: "/var/lib", want: 4},
		{dir: "/var/lib/relay", want: 4},
		{dir: "/var/library/x", want: 5},
		{dir: "/srv/a b/c", want: 6},
		{dir: "/var/lib/relay", id: 2, want: 2}, // a later mount hides the longer one
		{dir: "/var/lib/relay", id: 99, want: 4},
	} {
		got, ok := holding(mounts, tt.id, tt.dir)
		assert.True(t, ok)
		assert.Equal(t, tt.want, got.ID, "%s with ID %d", tt.dir, tt.id)
	}
	_, ok := holding(mounts[1:], 0, "/home")
	assert.False(t, ok)
}

func TestBelow(t *testing.T) {
	mounts := []Mount{{MountPoint: "/"}, {MountPoint: "/a"}, {MountPoint: "/a/b"}, {MountPoint: "/a/b/c"}, {MountPoint: "/ab"}}
	assert.Equal(t, mounts[2:4], below(mounts, "/a"))
	assert.Empty(t, below(mounts, "/ab"))
	assert.Empty(t, below(mounts, "/x"))
	assert.Len(t, below(mounts, "/"), 4)
}

func TestParseKernel(t *testing.T) {
	for release, want := range map[string]Kernel{
		"6.18.44-fc":                  {6, 18},
		"5.10.0-8-amd64":              {5, 10},
		"4.19":                        {4, 19},
		"5.14.0-503.el9.x86_64":       {5, 14},
		"10.0.1":                      {10, 0},
		"6.6-rc1":                     {6, 6},
		"5.15.167.4-microsoft-wsl2":   {5, 15},
		"3.10.0-1160.el7.x86_64+more": {3, 10},
	} {
		got, err := parseKernel(release)
		require.NoError(t, err, release)
		assert.Equal(t, want, got, release)
	}
	for _, release := range []string{"", "6", "six.1", ".5", "6.", "6-1", "99999999999999999999.1", "6.x"} {
		_, err := parseKernel(release)
		require.ErrorContains(t, err, "does not begin with a version", release)
	}
}

func TestKernelAtLeast(t *testing.T) {
	for k, want := range map[Kernel]bool{{}: false, {4, 19}: false, {5, 7}: false, {5, 8}: true, {5, 10}: true, {6, 0}: true, {10, 0}: true} {
		assert.Equal(t, want, k.AtLeast(5, 8), k)
	}
}

// The texts are from Linux 6.18, shortened to what matters.
func TestAddExt4Options(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       Mode
		noJournal  bool
	}{
		{name: "defaults", text: "rw\nbsddf\ndelalloc\nbarrier\nauto_da_alloc\ndata=ordered\n", want: ModeBarrier},
		{name: "mkfs -O ^has_journal", text: "rw\nbsddf\ndelalloc\nbarrier\nauto_da_alloc\n", want: ModeAlways, noJournal: true},
		{name: "tune2fs -o nobarrier", text: "rw\ndelalloc\nnobarrier\nauto_da_alloc\ndata=ordered\n", want: ModeAlways},
		{name: "tune2fs -o journal_data_writeback", text: "rw\ndelalloc\nbarrier\nauto_da_alloc\ndata=writeback\n", want: ModeAlways},
		{name: "auto_da_alloc=0", text: "rw\nbarrier\nnoauto_da_alloc\ndata=ordered\n", want: ModeAlways},
		{name: "data=journal", text: "rw\nnodelalloc\nbarrier\nauto_da_alloc\ndata=journal\n", want: ModeBarrier},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := ext4() // mountinfo says "rw" for all but the last two
			f.addExt4Options(tt.text)
			assert.Equal(t, tt.noJournal, f.NoJournal)
			choice, err := Choose(ModeFsync, f)
			require.NoError(t, err)
			assert.Equal(t, tt.want, choice.Effective, choice.Reason)
		})
	}
}

func TestReserve(t *testing.T) {
	const gib = int64(1) << 30
	for _, tt := range []struct{ total, want int64 }{
		{0, 0},
		{-1, 0},
		{100 << 20, 10 << 20}, // small: 10 %
		{5 * gib, gib / 2},
		{10 * gib, gib}, // from here on 1 GiB
		{15 * gib, gib},
		{20 * gib, gib}, // from here on 5 %
		{40 * gib, 2 * gib},
		{200 * gib, 10 * gib}, // from here on 10 GiB
		{1 << 50, 10 * gib},
		{math.MaxInt64, 10 * gib},
	} {
		assert.Equal(t, tt.want, Reserve(tt.total), "of %d", tt.total)
	}
}

func TestBytesOf(t *testing.T) {
	assert.Equal(t, int64(4096*10), bytesOf(10, 4096))
	assert.Equal(t, int64(math.MaxInt64), bytesOf(math.MaxUint64, 4096))
	assert.Equal(t, int64(math.MaxInt64), bytesOf(1<<52, 4096))
	assert.Zero(t, bytesOf(0, 4096))
}

func TestDiskSpaceOfNothing(t *testing.T) {
	_, err := DiskSpace(filepath.Join(t.TempDir(), "none"))
	require.ErrorContains(t, err, "none")
}

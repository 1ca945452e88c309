//go:build linux

package broker

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestProbe(t *testing.T) {
	dir := t.TempDir()
	f, err := Probe(dir)
	require.NoError(t, err)
	assert.NotEmpty(t, f.FSType)
	assert.NotEmpty(t, f.SuperOptions)
	assert.True(t, f.Kernel.AtLeast(3, 0), f.Kernel)
	assert.Empty(t, f.Below)

	t.Run("follows links", func(t *testing.T) {
		link := filepath.Join(t.TempDir(), "link")
		require.NoError(t, os.Symlink("/proc", link))
		f, err := Probe(filepath.Join(link, "self"))
		require.NoError(t, err)
		assert.Equal(t, "proc", f.FSType)
		assert.Equal(t, "/proc", f.MountPoint)
	})
	t.Run("sees what is mounted below", func(t *testing.T) {
		f, err := Probe("/")
		require.NoError(t, err)
		assert.Equal(t, "/", f.MountPoint)
		assert.NotEmpty(t, f.Below)
	})
	t.Run("relative", func(t *testing.T) {
		t.Chdir(dir)
		again, err := Probe(".")
		require.NoError(t, err)
		assert.Equal(t, f, again)
	})
	t.Run("what is not there", func(t *testing.T) {
		_, err := Probe(filepath.Join(dir, "none"))
		require.ErrorIs(t, err, fs.ErrNotExist)
	})
}

func TestDiskSpace(t *testing.T) {
	s, err := DiskSpace(t.TempDir())
	require.NoError(t, err)
	assert.Positive(t, s.Total)
	assert.GreaterOrEqual(t, s.Free, int64(0))
	assert.LessOrEqual(t, s.Free, s.Total)
	assert.LessOrEqual(t, s.FilesFree, s.Files)
	assert.False(t, s.ReadOnly)
	s, err = DiskSpace("/proc/sys") // read-only in some sandboxes only, and without blocks
	require.NoError(t, err)
	assert.Zero(t, s.Total)
}

//go:build linux

package broker

import (
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestReverify(t *testing.T) {
	dir := t.TempDir()
	m, err := NewMarker(dir)
	require.NoError(t, err)
	require.NoError(t, m.Failed(errDisk))
	require.NoError(t, m.Close())
	deep := filepath.Join(dir, "jetstream", "streams", "msgs")
	require.NoError(t, os.MkdirAll(deep, 0o700))
	outside := filepath.Join(t.TempDir(), "outside")
	require.NoError(t, os.WriteFile(outside, make([]byte, 5000), 0o600))
	require.NoError(t, os.Symlink(outside, filepath.Join(deep, "link")))
	require.NoError(t, unix.Mkfifo(filepath.Join(deep, "pipe"), 0o600)) // opening it must not wait
	block := filepath.Join(deep, "1.blk")
	require.NoError(t, os.WriteFile(block, make([]byte, 1<<20+77), 0o600))
	require.NotZero(t, cachedPages(t, block))

	require.NoError(t, Reverify(dir))

	facts, err := Probe(dir)
	require.NoError(t, err)
	if !inMemory(facts.FSType) { // there the cache is all there is
		assert.Zero(t, cachedPages(t, block), "the next read is from the disk")
		assert.NotZero(t, cachedPages(t, outside), "links are not followed")
	}
	unsynced, err := CheckMarker(dir)
	require.NoError(t, err)
	assert.False(t, unsynced, "the marker is reset")
	m, err = NewMarker(dir)
	require.NoError(t, err)
	require.NoError(t, m.Close())
}

func TestReverifyThatFailsKeepsTheMarker(t *testing.T) {
	dir := t.TempDir()
	m, err := NewMarker(dir)
	require.NoError(t, err)
	require.NoError(t, m.Failed(errDisk))
	require.NoError(t, m.Close())
	require.ErrorContains(t, Reverify(filepath.Join(dir, markerName)), "the kernel's log", "a directory that cannot be opened")
	unsynced, err := CheckMarker(dir)
	require.NoError(t, err)
	assert.True(t, unsynced)
}

// cachedPages asks mincore(2) how many pages of the file are in the page cache.
func cachedPages(t *testing.T, path string) int {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	require.NoError(t, err)
	mapped, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Munmap(mapped)) }()
	resident := make([]byte, len(mapped)/os.Getpagesize()+1)
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&mapped[0])), uintptr(len(mapped)), uintptr(unsafe.Pointer(&resident[0])))
	require.Zero(t, errno)
	n := 0
	for _, r := range resident {
		n += int(r & 1)
	}
	return n
}

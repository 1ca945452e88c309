package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const testSectors = 64

func newDisk(t *testing.T) (*Disk, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	require.NoError(t, os.WriteFile(path, make([]byte, testSectors*sectorSize), 0o600))
	d, err := OpenDisk(path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d, path
}

// sectors is count sectors full of a letter.
func sectors(letter byte, count int) []byte { return bytes.Repeat([]byte{letter}, count*sectorSize) }

func write(t *testing.T, d *Disk, letter byte, from, count int, through bool) {
	t.Helper()
	require.NoError(t, d.Write(sectors(letter, count), int64(from)*sectorSize, through))
}

// letters reads one letter a sector, as the machine sees the disk.
func letters(t *testing.T, d *Disk) string {
	t.Helper()
	p := make([]byte, d.Size())
	require.NoError(t, d.Read(p, 0))
	return shorten(t, p)
}

func shorten(t *testing.T, p []byte) string {
	t.Helper()
	text := ""
	for at := 0; at < len(p); at += sectorSize {
		require.Equal(t, sectors(p[at], 1), p[at:at+sectorSize], "a sector is written whole")
		if p[at] == 0 {
			text += "."
		} else {
			text += string(p[at])
		}
	}
	return text
}

func chance(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

func TestDiskKeepsWhatWasFlushed(t *testing.T) {
	d, _ := newDisk(t)
	write(t, d, 'a', 0, testSectors, false)
	require.NoError(t, d.Flush())
	write(t, d, 'b', 8, 4, true) // FUA
	write(t, d, 'c', 0, 2, false)
	before := letters(t, d)
	require.Equal(t, "ccaaaaaabbbbaa", before[:14], "what was written is read back at once")

	unflushed, kept, err := d.Cut(chance(1), 0)
	require.NoError(t, err)
	require.Equal(t, 2, unflushed)
	require.Zero(t, kept)
	require.Equal(t, "aaaaaaaabbbbaa", letters(t, d)[:14])
}

// What was not flushed survives in part, in any order.
func TestDiskLosesAtRandomWhatWasNotFlushed(t *testing.T) {
	d, path := newDisk(t)
	for i := range testSectors {
		write(t, d, 'a', i, 1, false)
	}
	unflushed, kept, err := d.Cut(chance(1), 0.5)
	require.NoError(t, err)
	require.Equal(t, testSectors, unflushed)
	after := letters(t, d)
	require.Equal(t, kept, bytes.Count([]byte(after), []byte("a")))
	require.Contains(t, after, "a.")
	require.Contains(t, after, ".a", "not the first ones only")
	image, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, after, shorten(t, image), "nothing is held back after a cut")
}

// A sector that was written again and again comes back with any of its contents.
func TestDiskKeepsAnyVersion(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(64) {
		d, _ := newDisk(t)
		for _, letter := range []byte("abc") {
			write(t, d, letter, 0, 1, false)
		}
		_, _, err := d.Cut(chance(seed), 0.75)
		require.NoError(t, err)
		seen[letters(t, d)[:1]] = true
	}
	require.Equal(t, map[string]bool{".": true, "a": true, "b": true, "c": true}, seen)
}

// A write through the cache is not undone by what the cache held of its sectors.
func TestDiskWritesThroughItsCache(t *testing.T) {
	d, _ := newDisk(t)
	write(t, d, 'a', 0, 4, false)
	write(t, d, 'b', 1, 1, true)
	_, _, err := d.Cut(chance(1), 1)
	require.NoError(t, err)
	require.Equal(t, "abaa", letters(t, d)[:4])
}

// A flush that was not answered when the power went has flushed nothing.
func TestDiskWithoutPowerFinishesNothing(t *testing.T) {
	d, _ := newDisk(t)
	d.FlushTime = time.Hour
	write(t, d, 'a', 0, 4, false)
	flushed := make(chan error)
	go func() { flushed <- d.Flush() }()
	d.SwitchOff()
	d.SwitchOff() // harmless
	require.ErrorIs(t, <-flushed, errNoPower)
	require.ErrorIs(t, d.Write(sectors('b', 1), 0, true), errNoPower)
	require.ErrorIs(t, d.Read(sectors('b', 1), 0), errNoPower)

	unflushed, _, err := d.Cut(chance(1), 0)
	require.NoError(t, err)
	require.Equal(t, 4, unflushed)
	require.Equal(t, "....", letters(t, d)[:4], "and the power is back")
}

func TestDiskCutsTheSameFromTheSameSeed(t *testing.T) {
	var after []string
	for range 2 {
		d, _ := newDisk(t)
		for i := range testSectors {
			write(t, d, 'a'+byte(i%20), testSectors-1-i, 1, false)
		}
		_, _, err := d.Cut(chance(7), 0.5)
		require.NoError(t, err)
		after = append(after, letters(t, d))
	}
	require.Equal(t, after[0], after[1])
}

func TestDiskHasItsBounds(t *testing.T) {
	d, _ := newDisk(t)
	for name, err := range map[string]error{
		"beyond its end":   d.Write(sectors('a', 2), (testSectors-1)*sectorSize, false),
		"before its start": d.Read(sectors('a', 1), -sectorSize),
		"half a sector":    d.Write(make([]byte, sectorSize/2), 0, false),
		"between sectors":  d.Read(sectors('a', 1), 100),
	} {
		require.ErrorIs(t, err, errUnaligned, name)
	}
}

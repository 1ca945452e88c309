package broker

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMarkerCarriesAFailureOver(t *testing.T) {
	dir := t.TempDir()
	unsynced, err := CheckMarker(dir)
	require.NoError(t, err)
	assert.False(t, unsynced, "there was no run")

	m, err := NewMarker(dir)
	require.NoError(t, err)
	unsynced, err = CheckMarker(dir)
	require.NoError(t, err)
	assert.False(t, unsynced)

	require.NoError(t, m.Failed(errDisk))
	require.NoError(t, m.Failed(errors.New("a later one")), "the first reason stays")
	require.NoError(t, m.Close())

	unsynced, reason, err := lookAtMarker(dir)
	require.NoError(t, err)
	assert.True(t, unsynced)
	assert.Contains(t, reason, errDisk.Error())
	assert.NotContains(t, reason, "\n")
	_, err = NewMarker(dir)
	require.ErrorIs(t, err, ErrUnsynced, "not to be forgotten by opening it")
	require.ErrorContains(t, err, errDisk.Error())
}

func TestMarkerIsWrittenInPlace(t *testing.T) {
	dir := t.TempDir()
	m, err := NewMarker(dir)
	require.NoError(t, err)
	defer func() { _ = m.Close() }()
	before, err := os.Stat(filepath.Join(dir, markerName))
	require.NoError(t, err)
	require.NoError(t, m.Failed(errors.New(strings.Repeat("long ", 2000))))
	after, err := os.Stat(filepath.Join(dir, markerName))
	require.NoError(t, err)
	assert.True(t, os.SameFile(before, after))
	assert.EqualValues(t, markerSize, before.Size())
	assert.Equal(t, before.Size(), after.Size())
	assert.Equal(t, os.FileMode(0o600), after.Mode())
}

func TestMarkerThatCannotBeWrittenSaysSo(t *testing.T) {
	m, err := NewMarker(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, m.Close())
	require.ErrorContains(t, m.Failed(errDisk), "noting the failed barrier")
}

func TestMarkerThatCannotBeRead(t *testing.T) {
	for name, text := range map[string]string{"empty": "", "cut": "syn", "zeroes": "\x00\x00\x00", "something else": "hello\n"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, markerName), []byte(text), 0o600))
			unsynced, reason, err := lookAtMarker(dir)
			require.NoError(t, err)
			assert.True(t, unsynced, "looking once too often costs little")
			assert.NotEmpty(t, reason)
		})
	}
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, markerName), 0o700))
	_, err := CheckMarker(dir)
	require.ErrorContains(t, err, "how the last run ended")
}

func TestMarkerIsSetByABarrier(t *testing.T) {
	dir := t.TempDir()
	m, err := NewMarker(dir)
	require.NoError(t, err)
	defer func() { _ = m.Close() }()
	b := NewBarrier((&slowDisk{fails: 1}).sync, BarrierOnFailure(func(err error) { assert.NoError(t, m.Failed(err)) }))
	defer func() { _ = b.Close() }()
	require.ErrorIs(t, b.Wait(t.Context()), ErrBarrierFailed)
	unsynced, reason, err := lookAtMarker(dir)
	require.NoError(t, err)
	assert.True(t, unsynced, "before anybody is told")
	assert.Contains(t, reason, errDisk.Error())
}

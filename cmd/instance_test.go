package cmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestInstanceIsMadeOnceForADirectory(t *testing.T) {
	dir := t.TempDir()
	first, err := instanceOf(dir)
	require.NoError(t, err)
	host, err := os.Hostname()
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(first, host+"-"))
	require.GreaterOrEqual(t, len(first)-len(host), 26, "at least 128 bits")

	again, err := instanceOf(dir)
	require.NoError(t, err)
	require.Equal(t, first, again)
	other, err := instanceOf(t.TempDir())
	require.NoError(t, err)
	require.NotEqual(t, first, other)

	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1)
	info, err := left[0].Info()
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestAnEmptyInstanceIsMadeAnew(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "instance"), []byte(" \n"), 0o600))
	name, err := instanceOf(dir)
	require.NoError(t, err)
	require.NotEmpty(t, name)
}

func TestAnInstanceThatCannotBeReadIsSaid(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "instance"), 0o700))
	_, err := instanceOf(dir)
	require.ErrorContains(t, err, filepath.Join(dir, "instance"))
	_, err = instanceOf(filepath.Join(dir, "gone"))
	require.ErrorContains(t, err, filepath.Join(dir, "gone"))
}

package pki_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/cmd/pki"
)

var withoutHost = []string{"ca.crt", "ca.key", "drain.crt", "drain.key", "edge.crt", "edge.key"}

func TestModes(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	dir, _ := newPKI(t)
	want := map[string]fs.FileMode{
		"ca.crt": 0o644, "edge.crt": 0o644, "drain.crt": 0o644, "host.crt": 0o644,
		"ca.key": 0o600, "edge.key": 0o600, "drain.key": 0o600, "host.key": 0o600,
	}
	got := map[string]fs.FileMode{}
	for _, name := range names(t, dir) {
		got[name] = mode(t, filepath.Join(dir, name))
	}
	assert.Equal(t, want, got, "and no temporary file is left")
	assert.Equal(t, fs.FileMode(0o700), mode(t, dir))
}

func TestParentsAreMadeAsUsual(t *testing.T) {
	old := syscall.Umask(0o022)
	defer syscall.Umask(old)
	parent := filepath.Join(t.TempDir(), "a", "b")
	_, err := pki.Init(filepath.Join(parent, "pki"), pki.Options{Now: now})
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o755), mode(t, parent))
	assert.Equal(t, fs.FileMode(0o700), mode(t, filepath.Join(parent, "pki")))
}

func TestEmptyDirectoryBecomesPrivate(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o777))
	_, err := pki.Init(dir, pki.Options{Now: now})
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o700), mode(t, dir))
}

func TestDirectoryInUse(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "other"), nil, 0o600))
	require.NoError(t, os.Chmod(dir, 0o770))
	_, err := pki.Init(dir, pki.Options{Now: now})
	require.ErrorContains(t, err, dir)
	assert.ErrorContains(t, err, "run chmod 0700")
	assert.Equal(t, []string{"other"}, names(t, dir))

	require.NoError(t, os.Chmod(dir, 0o755))
	_, err = pki.Init(dir, pki.Options{Now: now})
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o755), mode(t, dir), "somebody else's directory keeps its mode")
}

func TestNothingIsOverwritten(t *testing.T) {
	for _, name := range append(withoutHost, "host.crt", "host.key") {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, name)
			require.NoError(t, os.WriteFile(path, []byte("precious"), 0o600))
			_, err := pki.Init(dir, pki.Options{Now: now, Host: hostName})
			require.ErrorIs(t, err, fs.ErrExist)
			assert.ErrorContains(t, err, path)
			assert.ErrorContains(t, err, "choose another directory")
			assert.Equal(t, []string{name}, names(t, dir))
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, "precious", string(text))
		})
	}
}

func TestDanglingLinkIsInTheWay(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, "edge.key")))
	_, err := pki.Init(dir, pki.Options{Now: now})
	require.ErrorIs(t, err, fs.ErrExist)
	assert.Equal(t, []string{"edge.key"}, names(t, dir))
}

func TestSecondInitSaysWhatToDo(t *testing.T) {
	dir, result := newPKI(t)
	before := names(t, dir)
	_, err := pki.Init(dir, pki.Options{Now: now})
	require.ErrorIs(t, err, fs.ErrExist)
	assert.EqualError(t, err, result.CA.Key+" exists already and is never overwritten: "+
		"choose another directory for a new CA, or issue a further certificate from the one that is there")
	assert.Equal(t, before, names(t, dir))
}

// Of many at once one wins, and what is there afterwards is the winner's alone.
func TestInitAtTheSameTime(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	failures := make([]error, 8)
	var wg sync.WaitGroup
	for i := range failures {
		wg.Go(func() { _, failures[i] = pki.Init(dir, pki.Options{Now: now}) })
	}
	wg.Wait()
	won := 0
	for _, err := range failures {
		if err == nil {
			won++
			continue
		}
		assert.ErrorIs(t, err, fs.ErrExist)
	}
	assert.Equal(t, 1, won)
	assert.Equal(t, withoutHost, names(t, dir))
	require.NoError(t, pki.Issue(dir, pki.Request{Now: now, Use: pki.Edge, File: "second"}), "the CA's key and certificate belong together")
}

func TestInitNeedsADirectory(t *testing.T) {
	_, err := pki.Init("", pki.Options{Now: now})
	require.ErrorIs(t, err, pki.ErrInvalid)

	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err = pki.Init(path, pki.Options{Now: now})
	require.ErrorContains(t, err, path+" is not a directory")
	_, err = pki.Init(filepath.Join(path, "below"), pki.Options{Now: now})
	assert.True(t, errors.Is(err, syscall.ENOTDIR), "%v", err)
}

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Mode().Perm()
}

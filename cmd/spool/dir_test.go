package spool

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReadIsBounded(t *testing.T) {
	m := makeSpool(t)
	m.write("a/b", strings.Repeat("x", 100))
	f, err := m.Read("a/b", 100)
	require.NoError(t, err)
	require.Len(t, f.Body, 100)
	_, err = m.Read("a/b", 99)
	require.ErrorIs(t, err, ErrTooLarge)
	require.ErrorContains(t, err, "99")
	_, err = m.Read("a/c", 99)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// A spool belongs to another user: nothing leads out of it, nothing blocks.
func TestNothingButRegularFilesIsRead(t *testing.T) {
	m := makeSpool(t, "a/file", "b/file")
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("secret"), 0o600))
	require.NoError(t, os.Symlink(secret, m.at("a/out")))
	require.NoError(t, os.Symlink("file", m.at("a/within")))
	require.NoError(t, os.Symlink("b", m.at("linked")))
	require.NoError(t, os.Symlink(filepath.Dir(secret), m.at("gone")))
	require.NoError(t, syscall.Mkfifo(m.at("a/pipe"), 0o600))
	for name, says := range map[string]string{"a/out": "symbolic link", "a/within": "symbolic link", "linked/file": "symbolic link",
		"gone/secret": "symbolic link", "a/pipe": "special file", "a": "a directory"} {
		_, err := m.Read(name, 100)
		require.ErrorIs(t, err, ErrForeign, name)
		require.ErrorContains(t, err, says, name)
	}
	for _, name := range []string{"../" + filepath.Base(m.path) + "/a/file", "a/../../etc/passwd", secret} {
		_, err := m.Read(name, 100)
		require.Error(t, err, name)
	}
	for _, name := range []string{"linked", "gone", "a/file"} {
		_, err := m.names(name)
		require.ErrorIs(t, err, ErrForeign, name)
	}
	require.False(t, m.Has("linked"))
	require.False(t, m.Has("a/file"))
	require.True(t, m.Has("a"))
}

func TestNamesAreBounded(t *testing.T) {
	m := makeSpool(t, "a/3", "a/1", "a/2")
	m.max = 3
	names, err := m.names("a")
	require.NoError(t, err)
	require.Equal(t, []string{"1", "2", "3"}, names)
	m.max = 2
	_, err = m.names("a")
	require.ErrorContains(t, err, "more than 2 files")
	names, err = m.names("none")
	require.NoError(t, err)
	require.Empty(t, names)
}

func TestMove(t *testing.T) {
	m := makeSpool(t, "todo/a", "todo/b")
	require.NoError(t, m.Prepare())
	f, err := m.Read("todo/a", 100)
	require.NoError(t, err)
	require.NoError(t, m.Move(f))
	require.NoFileExists(t, m.at("todo/a"))
	text, err := os.ReadFile(m.at("imported/todo/a"))
	require.NoError(t, err)
	require.Equal(t, "content of todo/a", string(text))
	info, err := os.Stat(m.at("imported/todo"))
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o700), info.Mode().Perm(), "reports are nobody else's business")
	require.ErrorIs(t, m.Move(f), fs.ErrNotExist, "another has taken it")

	m.write("todo/a", "content of todo/a") // put back by hand
	again, err := m.Read("todo/a", 100)
	require.NoError(t, err)
	require.NoError(t, m.Move(again))
}

// What is not the file that was read stays, and nothing that is there is lost.
func TestMoveLosesNothing(t *testing.T) {
	m := makeSpool(t, "todo/a", "todo/b", "imported/todo/b", "elsewhere/x")
	f, err := m.Read("todo/a", 100)
	require.NoError(t, err)
	require.NoError(t, os.Rename(m.at("todo/a"), m.at("todo/c"))) // so that its inode is not used again
	m.write("todo/a", "another")
	require.ErrorContains(t, m.Move(f), "exchanged")
	require.FileExists(t, m.at("todo/a"))

	f, err = m.Read("todo/b", 100)
	require.NoError(t, err)
	require.ErrorContains(t, m.Move(f), "another file has its name")
	text, err := os.ReadFile(m.at("imported/todo/b"))
	require.NoError(t, err)
	require.Equal(t, "content of imported/todo/b", string(text))

	require.NoError(t, os.RemoveAll(m.at("imported")))
	require.NoError(t, os.Symlink("elsewhere", m.at("imported")))
	require.ErrorContains(t, m.Move(f), "symbolic link")
	require.ErrorContains(t, m.Prepare(), "symbolic link")
	require.FileExists(t, m.at("todo/b"))
}

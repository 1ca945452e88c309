package handlers_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/handlers"
)

// TestSocket: private, and gone after use.
func TestSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := handlers.ListenUnix(t.Context(), path)
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.NoError(t, l.Close())
	require.NoFileExists(t, path)
}

// TestSocketStale: what a killed process left is replaced.
func TestSocketStale(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	leaveStale(t, path)
	l, err := handlers.ListenUnix(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

// TestSocketAlive: one that answers is left alone.
func TestSocketAlive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := handlers.ListenUnix(t.Context(), path)
	require.NoError(t, err)
	defer func() { _ = first.Close() }()
	_, err = handlers.ListenUnix(t.Context(), path)
	require.ErrorContains(t, err, path)
	require.ErrorContains(t, err, "another process answers")
	conn, err := net.Dial("unix", path)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}

// TestSocketBusy: a process that is too busy to take a connection is alive.
func TestSocketBusy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	defer func() { _ = syscall.Close(fd) }()
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}))
	require.NoError(t, syscall.Listen(fd, 0))
	for range 4 { // fill the backlog
		if conn, err := net.Dial("unix", path); err == nil {
			defer func() { _ = conn.Close() }()
		}
	}
	_, err = handlers.ListenUnix(t.Context(), path)
	require.ErrorContains(t, err, "somebody may be listening")
	require.FileExists(t, path)
}

// TestSocketRefused: each of these says what is wrong, and changes nothing.
func TestSocketRefused(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, []byte("precious"), 0o600))
	for name, c := range map[string]struct{ path, says string }{
		"a file":       {file, "no socket"},
		"a directory":  {dir, "no socket"},
		"no directory": {filepath.Join(dir, "none", "s"), "does the directory"},
		"too long":     {filepath.Join(dir, strings.Repeat("x", 108)), "--admin-socket"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := handlers.ListenUnix(t.Context(), c.path)
			require.ErrorContains(t, err, c.says)
			require.ErrorContains(t, err, c.path)
		})
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "precious", string(text))
}

// TestSocketPathLimit: the longest path that the message allows works.
func TestSocketPathLimit(t *testing.T) {
	dir, err := os.MkdirTemp("", "s")
	require.NoError(t, err)
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, strings.Repeat("x", 107-len(dir)-1))
	require.Len(t, path, 107)
	l, err := handlers.ListenUnix(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, l.Close())
	_, err = handlers.ListenUnix(t.Context(), path+"x")
	require.ErrorContains(t, err, "107")
}

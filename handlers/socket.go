package handlers

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"
)

// maxSocketPath is what the kernel has room for, in bytes (sun_path less its NUL).
const maxSocketPath = 107

// ListenUnix listens on a socket that only its owner may use. A socket that
// nobody answers on is left over from a process that was killed, and replaced;
// anything else in its place is left alone.
func ListenUnix(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("admin socket %s: the path has %d bytes, the system takes %d; choose a shorter one with --admin-socket",
			path, len(path), maxSocketPath)
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("admin socket: %w", err)
	case info.Mode()&fs.ModeSocket == 0:
		return nil, fmt.Errorf("admin socket %s: something that is no socket is there; move it away or choose another path with --admin-socket", path)
	default:
		if err := removeStale(path); err != nil {
			return nil, err
		}
	}
	return listenPrivately(path)
}

func removeStale(path string) error {
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = conn.Close() // it was only to see whether anybody answers
		return fmt.Errorf("admin socket %s: another process answers on it; stop that, or choose another path with --admin-socket", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("admin socket left over from a killed process: %w", err)
	}
	return nil
}

// listenPrivately narrows the socket before anybody is answered on it: nothing
// is accepted until the server runs.
func listenPrivately(path string) (net.Listener, error) {
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("admin socket %s: %w (does the directory %s exist?)", path, err, filepath.Dir(path))
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close() // the chmod error is the one to tell
		return nil, fmt.Errorf("admin socket %s: %w", path, err)
	}
	return l, nil
}

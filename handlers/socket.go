package handlers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// maxSocketPath is what the kernel has room for, in bytes (sun_path less its NUL).
const maxSocketPath = 107

// ListenUnix listens on a socket that only its owner may use. A socket that
// nobody answers on is left over from a process that was killed, and replaced;
// anything else in its place is left alone.
func ListenUnix(ctx context.Context, path string) (net.Listener, error) {
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
		if err := removeStale(ctx, path); err != nil {
			return nil, err
		}
	}
	return listenPrivately(ctx, path)
}

func removeStale(ctx context.Context, path string) error {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close() // it was only to see whether anybody answers
		return fmt.Errorf("admin socket %s: another process answers on it; stop that, or choose another path with --admin-socket", path)
	}
	// Only a refused connection proves that nobody listens: a full backlog or a
	// socket of somebody else's fail too.
	if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("admin socket %s: somebody may be listening on it; stop that, or choose another path with --admin-socket: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("admin socket left over from a killed process: %w", err)
	}
	return nil
}

// listenPrivately narrows the socket before anybody is answered on it: nothing
// is accepted until the server runs.
func listenPrivately(ctx context.Context, path string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("admin socket %s: %w (does the directory %s exist?)", path, err, filepath.Dir(path))
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close() // the chmod error is the one to tell
		return nil, fmt.Errorf("admin socket %s: %w", path, err)
	}
	return l, nil
}

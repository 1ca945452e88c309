//go:build linux

package broker

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestLockDirWithoutPermission(t *testing.T) {
	top, err := os.MkdirTemp("", "lock")
	require.NoError(t, err)
	defer func() { require.NoError(t, os.RemoveAll(top)) }()
	closed := filepath.Join(top, "closed")
	require.NoError(t, os.Mkdir(closed, 0o500))
	require.NoError(t, os.Chmod(top, 0o755))
	for what, dir := range map[string]string{"cannot be locked": closed, "cannot be made": filepath.Join(closed, "new")} {
		_, err := lockAsNobody(t, dir)
		require.ErrorIs(t, err, fs.ErrPermission)
		require.ErrorContains(t, err, what)
		require.ErrorContains(t, err, "install -d -m 0700")
		require.ErrorContains(t, err, dir)
	}
}

// lockAsNobody locks in a thread that has lost root's right to go anywhere; the
// runtime ends the thread with the goroutine. Others than root have no such
// right to lose.
func lockAsNobody(t *testing.T, dir string) (l *DirLock, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if os.Geteuid() == 0 {
			assert.NoError(t, unix.Setfsuid(65534))
		}
		l, err = LockDir(dir)
	}()
	<-done
	return l, err
}

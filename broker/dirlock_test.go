package broker

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const lockHelperEnv = "BROKER_TEST_LOCK_DIR"

// TestLockHelper is not a test but the second process: it takes the lock, says
// so, starts a child and stays until its standard input ends.
func TestLockHelper(t *testing.T) {
	dir := os.Getenv(lockHelperEnv)
	if dir == "" {
		return
	}
	_, err := LockDir(dir)
	require.NoError(t, err)
	child := exec.Command("cat")
	child.Stdin = os.Stdin // ends with the test
	require.NoError(t, child.Start())
	fmt.Println("locked")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func startHolder(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestLockHelper$")
	cmd.Env = append(os.Environ(), lockHelperEnv+"="+dir)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Process.Kill() // it may be gone already
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "locked\n", line)
	return cmd
}

func TestLockDirAgainstAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	other := startHolder(t, dir)

	_, err := LockDir(dir)
	require.ErrorIs(t, err, ErrLocked)
	host, _ := os.Hostname()
	for _, part := range []string{dir, "process " + strconv.Itoa(other.Process.Pid) + " on " + host + " since 20", "stop that one, or choose another --state-dir"} {
		require.ErrorContains(t, err, part)
	}

	t.Run("deleting the file does not help", func(t *testing.T) {
		require.NoError(t, os.Remove(filepath.Join(dir, lockName)))
		_, err := LockDir(dir)
		require.ErrorIs(t, err, ErrLocked)
		require.ErrorContains(t, err, "another process")
	})

	require.NoError(t, other.Process.Signal(syscall.SIGKILL))
	_ = other.Wait() // killed; its child is still there
	l, err := LockDir(dir)
	require.NoError(t, err, "free at once")
	require.NoError(t, l.Unlock())
}

func TestLockDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	l, err := LockDir(dir)
	require.NoError(t, err)
	info, err := os.Stat(dir)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	text, err := os.ReadFile(filepath.Join(dir, lockName))
	require.NoError(t, err)
	assert.Regexp(t, `^pid \d+\nhost .*\nsince \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\n$`, string(text))

	_, err = LockDir(dir)
	require.ErrorIs(t, err, ErrLocked, "the same process is no exception")
	require.ErrorContains(t, err, fmt.Sprintf("process %d", os.Getpid()))

	require.NoError(t, l.Unlock())
	require.NoError(t, l.Unlock())
	again, err := LockDir(dir)
	require.NoError(t, err)
	require.NoError(t, l.Unlock(), "a late one does not touch the next owner")
	_, err = LockDir(dir)
	require.ErrorIs(t, err, ErrLocked)
	require.NoError(t, again.Unlock())
}

func TestLockDirIgnoresWhatTheFileSays(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, lockName), []byte(strings.Repeat("pid 1\n", 1000)), 0o600))
	l, err := LockDir(dir)
	require.NoError(t, err, "nobody holds it")
	defer func() { _ = l.Unlock() }()
	text, err := os.ReadFile(filepath.Join(dir, lockName))
	require.NoError(t, err)
	assert.NotContains(t, string(text), "pid 1\n")
}

func TestLockDirSaysWhatToDo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		_, err := LockDir(dir)
		require.ErrorIs(t, err, syscall.ENOTDIR)
		require.ErrorContains(t, err, "a file is where a directory should be")
	}
	_, err := LockDir("")
	require.ErrorContains(t, err, "set --state-dir")

	for errno, advice := range map[syscall.Errno]string{
		syscall.EACCES: "install -d -m 0700",
		syscall.EPERM:  "install -d -m 0700",
		syscall.EROFS:  "read-only",
		syscall.ENOSPC: "full",
		syscall.EDQUOT: "full",
		syscall.EIO:    "choose another --state-dir",
	} {
		err := explain("/state", "cannot be made", &os.PathError{Op: "mkdir", Path: "/state", Err: errno})
		require.ErrorIs(t, err, errno)
		require.ErrorContains(t, err, advice)
		require.ErrorContains(t, err, "--state-dir")
	}
	require.ErrorContains(t, taken("/state", nil, syscall.ENOLCK), "a filesystem that can lock files")
}

package clients

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// host is what the clients call this machine: nothing of it gets into a report.
const host = "web1.example.com"

// file is a file that a Debian package brings.
type file struct{ path, packages string }

// need skips a test where a program is missing. In CI, which installs it, that
// is a failure: a skip there would be a test that nobody runs.
func need(t *testing.T, files []file) {
	t.Helper()
	for _, f := range files {
		if _, err := os.Stat(f.path); err == nil {
			continue
		}
		if os.Getenv("CI") == "true" {
			require.Failf(t, "a client is missing", "%s is not there: .ci/install %s", f.path, f.packages)
		}
		t.Skipf("%s is not there; `make clients` installs it, as does: apt-get install --no-install-recommends %s", f.path, f.packages)
	}
}

// sandbox is the home of one client: whatever it reads and writes of its own is
// in there, and goes with the test.
type sandbox struct {
	t   *testing.T
	dir string
	pki string // directory of certificates; empty: plain HTTP
}

func newSandbox(t *testing.T, pki string) *sandbox {
	t.Helper()
	box := &sandbox{t: t, dir: t.TempDir(), pki: pki}
	for _, dir := range []string{"home", "tmp"} {
		require.NoError(t, os.Mkdir(box.path(dir), 0o700))
	}
	return box
}

func (b *sandbox) path(name string) string { return filepath.Join(b.dir, name) }

func (b *sandbox) cert(name string) string { return filepath.Join(b.pki, name) }

// write makes a file, and its directory, and returns its path.
func (b *sandbox) write(name, text string) string {
	b.t.Helper()
	require.NoError(b.t, os.MkdirAll(filepath.Dir(b.path(name)), 0o700))
	require.NoError(b.t, os.WriteFile(b.path(name), []byte(text), 0o600))
	return b.path(name)
}

// tooLong is no measure of speed: it ends a client that waits for Foreman.
const tooLong = 2 * time.Minute

// run runs a program to its end and returns all that it printed, and its exit
// code. It knows nothing of the environment of the test, and a proxy where
// nobody listens keeps it from asking the network what cloud it is in.
func (b *sandbox) run(env []string, program string, args ...string) (printed string, code int) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), tooLong)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &out, b.dir
	const nobody = "http://127.0.0.1:9"
	cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + b.path("home"), "TMPDIR=" + b.path("tmp"), "LANG=C.UTF-8",
		"http_proxy=" + nobody, "https_proxy=" + nobody, "no_proxy=127.0.0.1",
		"BLKID_FILE=" + b.path("tmp/blkid")}, env...) // Puppet's facts ask blkid, which would keep a table of the disks in /run
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // its workers too
	err := cmd.Run()
	require.NoError(b.t, ctx.Err(), "%s waits for something; it printed:\n%s", program, &out)
	if cmd.ProcessState == nil {
		require.NoError(b.t, err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

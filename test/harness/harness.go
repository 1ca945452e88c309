// Package harness runs the real program as real processes: it builds the
// binary once, starts `serve` and `drain`, kills, freezes and starts them again,
// and reads the same command line that operators use.
package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// build makes the binary once for all tests of a package.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "foreman-relay-test-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "foreman-relay")
	out, err := exec.Command("go", "build", "-buildvcs=false", "-o", bin, "github.com/theforeman/foreman-relay/cmd/foreman-relay").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return bin, nil
})

// Clean removes the binary; call it at the end of TestMain.
func Clean() {
	if bin, err := build(); err == nil {
		_ = os.RemoveAll(filepath.Dir(bin)) // a temporary directory
	}
}

// Binary is the path of the program.
func Binary(t testing.TB) string {
	t.Helper()
	bin, err := build()
	require.NoError(t, err)
	return bin
}

// Process is one running program and what it has written.
type Process struct {
	t     testing.TB
	under []string // a command that becomes the program
	args  []string
	cmd   *exec.Cmd
	log   *logBuffer
	done  chan struct{}
}

// Start starts the program; it is killed with the test if it still runs then.
func Start(t testing.TB, args ...string) *Process {
	t.Helper()
	return startUnder(t, nil, args)
}

func startUnder(t testing.TB, under, args []string) *Process {
	t.Helper()
	p := &Process{t: t, under: under, args: args, log: &logBuffer{}}
	p.start()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("foreman-relay %v wrote (its end):\n%s", args, p.log.tail())
		}
	})
	return p
}

func (p *Process) start() {
	p.t.Helper()
	command := append(append([]string{}, p.under...), append([]string{Binary(p.t)}, p.args...)...)
	p.cmd = exec.Command(command[0], command[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.Env = append(os.Environ(), "GOTRACEBACK=all")
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(p.t, p.cmd.Start())
	cmd, done := p.cmd, make(chan struct{})
	p.done = done
	go func() {
		_ = cmd.Wait() // how it ended is read from its state
		close(done)
	}()
}

// Again starts the program anew with the same arguments, after it has ended.
func (p *Process) Again() {
	p.t.Helper()
	<-p.done
	p.start()
}

// Kill ends the process with SIGKILL and waits for its end.
func (p *Process) Kill() {
	_ = p.cmd.Process.Signal(syscall.SIGCONT) // it may be frozen, or gone
	_ = p.cmd.Process.Kill()
	<-p.done
}

// KillNow sends SIGKILL and does not wait: the caller may be what it talks to.
func (p *Process) KillNow() { _ = p.cmd.Process.Kill() }

// Signal sends a signal.
func (p *Process) Signal(s syscall.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(s))
}

// Stop sends SIGTERM and returns the exit code.
func (p *Process) Stop(within time.Duration) int {
	p.t.Helper()
	p.Signal(syscall.SIGTERM)
	return p.Wait(within)
}

// Wait waits for the end and returns the exit code.
func (p *Process) Wait(within time.Duration) int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(within):
		require.Failf(p.t, "the process did not end", "foreman-relay %v within %v; it wrote:\n%s", p.args, within, p.log.tail())
	}
	return p.cmd.ProcessState.ExitCode()
}

// Log is what the process has written so far.
func (p *Process) Log() string { return p.log.String() }

// Pid is the id of the process.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Command runs the program to its end and returns its output and exit code.
func Command(t testing.TB, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, Binary(t), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil {
		require.NoError(t, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// FreeAddress is a loopback address nobody listens on at this moment.
func FreeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }() // only its number is wanted
	return l.Addr().String()
}

// Queues is `queue ls -o json`.
func Queues(t testing.TB, socket string) []relay.QueueStatus {
	t.Helper()
	out, errs, code := Command(t, "queue", "ls", "-o", "json", "--admin-socket", socket)
	require.Zero(t, code, errs)
	var all []relay.QueueStatus
	require.NoError(t, json.Unmarshal([]byte(out), &all), out)
	return all
}

// AwaitQueue waits until default/foreman is as cond says.
func AwaitQueue(t testing.TB, socket string, within time.Duration, cond func(relay.QueueStatus) bool) relay.QueueStatus {
	t.Helper()
	var last string
	deadline := time.Now().Add(within)
	for time.Now().Before(deadline) {
		out, errs, code := Command(t, "queue", "show", "default/foreman", "-o", "json", "--admin-socket", socket)
		var s relay.QueueStatus
		if code == 0 && json.Unmarshal([]byte(out), &s) == nil && cond(s) {
			return s
		}
		last = out + errs
		time.Sleep(100 * time.Millisecond) // a process a question is dear; there is no signal to wait for from outside
	}
	require.Failf(t, "the queue is not as awaited", "within %v; last seen:\n%s", within, last)
	return relay.QueueStatus{}
}

// Drained says that nothing is pending.
func Drained(s relay.QueueStatus) bool { return s.Pending == 0 }

// Audit runs `audit` and fails the test when the ledger does not balance.
func Audit(t testing.TB, socket string) {
	t.Helper()
	out, errs, code := Command(t, "audit", "--admin-socket", socket)
	require.Zero(t, code, out+errs)
}

// logBuffer keeps what a process writes, bounded.
type logBuffer struct {
	mu  sync.Mutex
	buf []byte
}

const logLimit = 1 << 20

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf = append(b.buf, p...)
	if len(b.buf) > logLimit {
		b.buf = append([]byte(nil), b.buf[len(b.buf)-logLimit/2:]...)
	}
	return len(p), nil
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.buf)
}

func (b *logBuffer) tail() string {
	s := b.String()
	return s[max(0, len(s)-3000):]
}

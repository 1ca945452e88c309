package test

import (
	"bufio"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/test/harness"
)

// spools makes the two spools of today's plugins, many hosts in each.
func spools(t *testing.T) (openscap, reports string, files int) {
	t.Helper()
	openscap, reports = t.TempDir(), t.TempDir()
	write := func(dir, name string, body []byte) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), body, 0o600))
		files++
	}
	arf, err := os.ReadFile(filepath.Join("testdata", "arf.xml.bz2"))
	require.NoError(t, err)
	for host := range 10 {
		for policy := range 4 { // two of them in one second
			write(openscap, fmt.Sprintf("arf/Host%d.example.com/%d/%d/%s", host, policy, 1700000000+policy/2, relay.DigestOf(arf)), arf)
		}
	}
	for i := range 40 {
		name := fmt.Sprintf("host%d.example.com", i%10)
		write(reports, fmt.Sprintf("todo/rmkq1a%02d1-ansible_facts", i), fmt.Appendf(nil, `{"name":%q,"facts":{"ansible_facts":{"run":"%d"},"_type":"ansible"}}`, name, i))
		write(reports, fmt.Sprintf("todo/rmkq1a%02d2-report", i), fmt.Appendf(nil, `{"host_report":{"format":"ansible","version":1,"host":%q,`+
			`"reported_at":"2026-01-01 00:00:00 UTC","proxy":"p","body":"{\"run\":%d}","keywords":[],"change":0,"nochange":0,"failure":0}}`, name, i))
	}
	return openscap, reports, files
}

// importUntil runs an import and kills it when it has printed so many receipts;
// false: it came to its end.
func importUntil(t *testing.T, receipts int, args ...string) (killed bool) {
	t.Helper()
	cmd := exec.Command(harness.Binary(t), append([]string{"import", "-o", "jsonl"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); {
		if n++; n == receipts {
			time.Sleep(rand.N(5 * time.Millisecond)) // the random moment itself: some steps of the next file
			require.NoError(t, cmd.Process.Kill())
		}
	}
	_ = cmd.Wait() // how it ended is read from its state
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return true
	}
	require.Zero(t, cmd.ProcessState.ExitCode())
	return false
}

// An import is killed again and again, and the relay under it once. Everything
// in the spools is delivered once, but for facts that newer ones of their host
// have overtaken, and nothing is gone from their directories.
func TestAnImportThatIsKilled(t *testing.T) {
	openscap, reports, files := spools(t)
	f := startForm(t, false)
	kills := 0
	for _, spool := range [][]string{{"--from", "smart-proxy-openscap", openscap}, {"--from", "smart-proxy-reports", reports}} {
		args := append(spool, "--admin-socket", f.socket)
		for _, receipts := range []int{1, 2, 3, 5, 8} {
			if importUntil(t, receipts, args...) {
				kills++
			}
		}
		if kills > 0 && spool[1] == "smart-proxy-openscap" {
			f.edge.Kill()
			_, errs, code := harness.Command(t, append([]string{"import"}, args...)...)
			require.Equal(t, 5, code, errs)
			f.edge.Again()
			f.awaitReady()
		}
		require.False(t, importUntil(t, 0, args...))
	}
	require.Positive(t, kills, "no import was killed: the spools are too small")
	s := harness.AwaitQueue(t, f.socket, 60*time.Second, harness.Drained)
	require.EqualValues(t, files, s.Accepted)
	require.EqualValues(t, files, s.Delivered+s.Superseded)
	require.LessOrEqual(t, s.Superseded, uint64(30), "of forty facts of ten hosts")
	harness.Audit(t, f.socket)

	// Foreman refuses a second ARF of one second, and stores a second host report.
	counted := map[string]int{}
	for _, r := range f.foreman.Counted() {
		counted[r.Path+string(r.Body)]++
	}
	require.Len(t, counted, files-int(s.Superseded))
	for request, times := range counted {
		require.Equal(t, 1, times, request)
	}
	for i := range 40 { // reports are never overtaken
		require.Equal(t, 1, f.reportsOf(i), "report %d", i)
	}
	for host := range 10 {
		require.JSONEq(t, fmt.Sprintf(`{"ansible_facts":{"run":"%d"},"_type":"ansible"}`, 30+host),
			string(f.foreman.Facts(fmt.Sprintf("host%d.example.com", host))), "the last facts have won")
	}
	require.Equal(t, files, regularFiles(t, filepath.Join(openscap, "imported"))+regularFiles(t, filepath.Join(reports, "imported")))
	require.Zero(t, regularFiles(t, filepath.Join(openscap, "arf"))+regularFiles(t, filepath.Join(reports, "todo")))
}

// reportsOf is how often the i-th host report of the spool was counted.
func (f *form) reportsOf(i int) (n int) {
	for _, r := range f.foreman.Counted() {
		if strings.Contains(string(r.Body), fmt.Sprintf(`\"run\":%d}`, i)) {
			n++
		}
	}
	return n
}

func regularFiles(t *testing.T, dir string) (n int) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			n++
		}
		return err
	}))
	return n
}

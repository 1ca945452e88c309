package standin_test

import (
	"bufio"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The command alone: it says where it listens, a line a request, and ends with
// SIGTERM.
func TestTheCommand(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "stand-in")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "./stand-in").CombinedOutput()
	require.NoError(t, err, string(out))

	cmd := exec.CommandContext(t.Context(), bin, "--listen", "127.0.0.1:0", "--mode", "slow", "--latency", "1ms")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(stdout)
	require.True(t, lines.Scan())
	_, rest, found := strings.Cut(lines.Text(), "http://")
	require.True(t, found, lines.Text())
	url := "http://" + strings.Fields(rest)[0]

	got, err := try(t.Context(), client(t), http.MethodPost, url+reports, jsonHeader(), []byte(report("a", noon)))
	require.NoError(t, err)
	assert.Equal(t, 201, got.status)
	require.True(t, lines.Scan())
	assert.Contains(t, lines.Text(), "POST "+reports+" a 201")

	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait())
}

func TestTheCommandRefusesAnUnknownMode(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "run", "./stand-in", "--mode", "broken").CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(out), `"broken"`)
}

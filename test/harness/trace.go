package harness

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// tracedCalls are those that a request's bytes and their way to the disk go
// through. A kind of write that is missing here fails the tests: they look for
// every answer and every message.
const tracedCalls = "read,write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,syncfs"

// never is the moment of what did not happen while it was traced.
const never = math.MaxInt

// Trace is a program that runs under strace(1), and what it asks of the kernel.
type Trace struct {
	*Process
	file string
}

// Call is one system call of a trace. Begun and Ended order all calls of a
// trace: a call whose Begun is greater than another's Ended began after that one
// had returned, because strace stops a thread at both moments and writes its
// line before it lets the thread go on.
type Call struct {
	Name   string
	Path   string // of the first argument, a descriptor: a file's path, or socket:[number]
	Text   string // the arguments; bytes that are not printable are escaped
	Result int    // -1 where it failed or did not return
	Begun  int
	Ended  int
}

// CannotTrace is why programs cannot be traced here; empty when they can.
func CannotTrace() (reason string, missing bool) {
	if _, err := exec.LookPath("strace"); err != nil {
		return "strace is not installed (Debian: apt-get install strace)", true
	}
	return command("strace", "-D", "-f", "--seccomp-bpf", "-o", os.DevNull, "true"), false
}

// StartTraced is Start under strace. Read the calls after its end.
func StartTraced(t testing.TB, args ...string) *Trace {
	t.Helper()
	file := filepath.Join(t.TempDir(), "trace")
	// -D: the program is our child and strace is not, so signals reach the
	// program. Its end waits for strace too, which holds the same stderr.
	// Go interrupts its threads with signals all the time; they are left out.
	under := []string{"strace", "-D", "-f", "--seccomp-bpf", "-y", "-s", strconv.Itoa(1 << 20), "-e", "signal=none", "-e", "trace=" + tracedCalls, "-o", file}
	return &Trace{Process: startUnder(t, under, args), file: file}
}

// Calls are all calls of the program, in the order in which they began.
func (tr *Trace) Calls() []Call {
	tr.t.Helper()
	f, err := os.Open(tr.file)
	require.NoError(tr.t, err)
	defer func() { _ = f.Close() }() // only read
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 64<<20) // four characters for each byte of the largest write
	calls, err := parseTrace(lines)
	require.NoError(tr.t, err)
	return calls
}

var (
	wholeLine   = regexp.MustCompile(`^(\d+) +(\w+)\((.*)\) += (-?\d+|\?)(?: E\w+ \([^()]*\)| \(.*\))?$`)
	beganLine   = regexp.MustCompile(`^(\d+) +(\w+)\((.*) <unfinished \.\.\.>\)?$`)
	endedLine   = regexp.MustCompile(`^(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (-?\d+|\?)(?: E\w+ \([^()]*\)| \(.*\))?$`)
	goneLine    = regexp.MustCompile(`^(\d+) +(\+\+\+|---) .*$`) // the end of a thread
	firstIsPath = regexp.MustCompile(`^\d+<([^>]*)>`)
)

// parseTrace refuses what it does not understand: a line that was passed over
// could be the one that matters.
func parseTrace(lines *bufio.Scanner) ([]Call, error) {
	var calls []Call
	open := map[string]int{} // by thread: where its unfinished call is in calls
	for at := 0; lines.Scan(); at++ {
		line := lines.Text()
		if m := wholeLine.FindStringSubmatch(line); m != nil && !strings.HasPrefix(m[3], "<... ") {
			calls = append(calls, Call{Name: m[2], Text: m[3], Result: result(m[4]), Begun: at, Ended: at})
		} else if m := beganLine.FindStringSubmatch(line); m != nil {
			open[m[1]] = len(calls)
			calls = append(calls, Call{Name: m[2], Text: m[3], Result: -1, Begun: at, Ended: never})
		} else if m := endedLine.FindStringSubmatch(line); m != nil {
			i, known := open[m[1]]
			if !known || calls[i].Name != m[2] {
				return nil, fmt.Errorf("line %d of the trace ends a call that has not begun: %.200s", at+1, line)
			}
			delete(open, m[1])
			calls[i].Text, calls[i].Result, calls[i].Ended = calls[i].Text+m[3], result(m[4]), at
		} else if !goneLine.MatchString(line) {
			return nil, fmt.Errorf("line %d of the trace is not understood: %.200s", at+1, line)
		}
	}
	for i := range calls {
		if m := firstIsPath.FindStringSubmatch(calls[i].Text); m != nil {
			calls[i].Path = m[1]
		}
	}
	return calls, lines.Err()
}

// result is -1 for a call that strace saw no end of.
func result(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return -1
	}
	return n
}

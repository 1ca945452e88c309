package test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// aspects are the rows that docs/queued-communication.md must have.
var aspects = []string{"loose coupling", "failure isolation", "load levelling", "disconnected operation", "durable against express",
	"exactly-once transfer into the queue", "settle only after the answer is recorded", "batching", "sessions (lanes)",
	"dead letters per application with the cause", "time to live", "poison handling with two levels of retry",
	"fault, drop, reject or move on poison", "negative acknowledgement", "retry and poison visibility", "quota",
	"transport and message security", "access rights", "correlation", "verification at start", "peek", "purge", "move", "journal",
	"competing consumers and their graceful stop", "depth and age for scaling", "asynchronous request-reply", "claim check", "priority",
	"sequential convoy", "circuit breaker", "gatekeeper", "retry budget and throttling", "bulkhead", "outbox for producers", "observability",
	"versioned messages", "clocks", "foreign senders"}

var quoted = regexp.MustCompile("`([^`]+)`")

// The table of all aspects is held against the tree: every row is there, and the
// files and tests that it names exist.
func TestEveryAspect(t *testing.T) {
	rows := tableRows(t, "../docs/queued-communication.md", "aspect")
	for _, aspect := range aspects {
		require.NotEmpty(t, rows[aspect], "there is no row %s", aspect)
	}
	tests := testNames(t)
	for aspect, cells := range rows {
		code := quoted.FindAllStringSubmatch(cells[2], -1)
		require.NotEmpty(t, code, aspect)
		for _, c := range code {
			require.FileExists(t, filepath.Join("..", c[1]), aspect)
		}
		shownBy(t, tests, aspect, cells[3])
	}
}

// parts are what docs/threat-model.md must have a row for.
var parts = []string{"anybody who reaches the edge", "a host with its certificate", "a reverse proxy before the edge", "the edge process",
	"the edge's disk or its backup", "the cable between drain and edge", "a drain, or its certificate and key", "a destination", "an operator's socket", "Foreman"}

// The claims of the threat model are held against the tree in the same way.
func TestThreatModel(t *testing.T) {
	rows := tableRows(t, "../docs/threat-model.md", "taken over")
	for _, part := range parts {
		require.NotEmpty(t, rows[part], "there is no row %s", part)
	}
	tests := testNames(t)
	for part, cells := range rows {
		if !strings.HasPrefix(cells[3], "(test: pending)") {
			shownBy(t, tests, part, cells[3])
		}
	}
}

// tableRows are the rows of four cells in a page, by their first cell.
func tableRows(t *testing.T, file, head string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	rows := map[string][]string{}
	for _, line := range strings.Split(string(text), "\n") {
		if cells := strings.Split(line, " | "); strings.HasPrefix(line, "| ") && len(cells) == 4 && cells[0] != "| "+head {
			rows[strings.TrimPrefix(cells[0], "| ")] = cells
		}
	}
	return rows
}

// shownBy: a claim names tests, and they exist.
func shownBy(t *testing.T, tests map[string]bool, claim, cell string) {
	t.Helper()
	shown := quoted.FindAllStringSubmatch(cell, -1)
	require.NotEmpty(t, shown, claim)
	for _, s := range shown {
		require.True(t, tests[s[1]], "%s: there is no test %s", claim, s[1])
	}
}

// testNames are the tests of the whole project.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, declared := range file.Decls {
			if f, ok := declared.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				names[f.Name.Name] = true
			}
		}
		return nil
	})
	require.NoError(t, err)
	return names
}

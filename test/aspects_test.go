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

// The table of all aspects is held against the tree: every row is there, and the
// files and tests that it names exist.
func TestEveryAspect(t *testing.T) {
	text, err := os.ReadFile("../docs/queued-communication.md")
	require.NoError(t, err)
	rows := map[string][]string{}
	for _, line := range strings.Split(string(text), "\n") {
		if cells := strings.Split(line, " | "); strings.HasPrefix(line, "| ") && len(cells) == 4 && cells[0] != "| aspect" {
			rows[strings.TrimPrefix(cells[0], "| ")] = cells
		}
	}
	for _, aspect := range aspects {
		require.NotEmpty(t, rows[aspect], "there is no row %s", aspect)
	}
	tests := testNames(t)
	quoted := regexp.MustCompile("`([^`]+)`")
	for aspect, cells := range rows {
		code, shown := quoted.FindAllStringSubmatch(cells[2], -1), quoted.FindAllStringSubmatch(cells[3], -1)
		require.NotEmpty(t, code, aspect)
		require.NotEmpty(t, shown, aspect)
		for _, c := range code {
			require.FileExists(t, filepath.Join("..", c[1]), aspect)
		}
		for _, s := range shown {
			require.True(t, tests[s[1]], "%s: there is no test %s", aspect, s[1])
		}
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

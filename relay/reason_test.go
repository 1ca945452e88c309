package relay_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// reasonConstants are all constants of the package that begin with Reason.
func reasonConstants(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	files, err := os.ReadDir(".")
	require.NoError(t, err)
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if !ok || !strings.HasPrefix(v.Names[0].Name, "Reason") || len(v.Values) == 0 {
				return true
			}
			if text, ok := v.Values[0].(*ast.BasicLit); ok && text.Kind == token.STRING {
				found[v.Names[0].Name], err = strconv.Unquote(text.Value)
				require.NoError(t, err)
			}
			return true
		})
	}
	require.Greater(t, len(found), 20)
	return found
}

// The set is closed: every constant is in it, each once, and the documentation
// has a row for each that says whether it is given today.
func TestTheReasonsAreAClosedSet(t *testing.T) {
	constants := map[string]bool{}
	for _, code := range reasonConstants(t) {
		constants[code] = true
	}
	text, err := os.ReadFile("../docs/dead-letters.md")
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, r := range relay.Reasons() {
		require.False(t, seen[r.Code], r.Code)
		require.True(t, constants[r.Code], r.Code)
		require.NotEmpty(t, r.Meaning)
		seen[r.Code] = true
		if r.Letter {
			row := regexp.MustCompile("(?m)^\\| `" + r.Code + "` \\|.*$").FindString(string(text))
			require.NotEmpty(t, row, "a row of docs/dead-letters.md for %s", r.Code)
			require.Equal(t, r.Reserved, strings.Contains(row, "reserved"), row)
		}
	}
	require.Len(t, seen, len(constants), "a reason that is not in the table of reason.go: %v", constants)
	for _, must := range []string{"expired", "max_attempts", "max_age", "rejected", "schema_invalid", "unauthorized", "too_large", "undecryptable",
		"route_gone", "unknown_version", "discarded_by_policy"} {
		require.True(t, seen[must], must)
	}
}

// Whatever a destination or a program says, what is stored and what is read is
// of the set.
func TestNoOtherReasonIsRecorded(t *testing.T) {
	letters := map[string]bool{}
	for _, r := range relay.Reasons() {
		letters[r.Code] = r.Letter
	}
	for _, state := range []relay.State{relay.Dead, relay.Waiting, relay.Delivered, relay.Superseded, relay.Discarded, relay.Duplicate, relay.Cancelled} {
		for _, reason := range []string{"", "whim", relay.ReasonRejected, relay.ReasonTimeout, relay.ReasonUnclassified} {
			e := relay.Event{Sequence: 1, ID: "x", State: state, Reason: reason, Detail: "as it was said"}
			b, err := e.Encode()
			require.NoError(t, err)
			got, err := relay.DecodeEvent(b)
			require.NoError(t, err)
			isLetter, known := letters[reason]
			fits := known && (isLetter || state != relay.Dead) || reason == "" && state != relay.Dead
			switch {
			case fits:
				require.Equal(t, []string{reason, "as it was said"}, []string{got.Reason, got.Detail})
			case reason == "":
				require.Equal(t, []string{relay.ReasonUnclassified, "as it was said"}, []string{got.Reason, got.Detail})
			default:
				require.Equal(t, []string{relay.ReasonUnclassified, reason + ": as it was said"}, []string{got.Reason, got.Detail})
			}
		}
	}
	e, err := relay.DecodeEvent([]byte(`{"s":1,"i":"x","o":"dead","r":"invented_later","d":"d"}`))
	require.NoError(t, err)
	require.Equal(t, []string{relay.ReasonUnclassified, "invented_later: d"}, []string{e.Reason, e.Detail})
}

// Every verdict of Decide on every class, status and age that ends a message
// gives a reason that a letter can carry, without the help of the encoding.
func TestEveryDeathHasAReasonOfTheSet(t *testing.T) {
	letters := map[string]bool{}
	for _, r := range relay.Reasons() {
		letters[r.Code] = r.Letter && !r.Reserved
	}
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	deaths := map[string]bool{}
	judge := func(r relay.Result) {
		for _, p := range []relay.Policy{relay.DefaultPolicy(), relay.DefaultPolicy().Expiring(time.Minute)} {
			for _, a := range []relay.Attempt{{Accepted: now}, {Failures: 10_000, Accepted: now}, {Accepted: now.Add(-p.MaxAge)}} {
				if o := relay.Decide(p, a, r, now, 0.5); o.State == relay.Dead {
					require.True(t, letters[o.Reason], "%q of %+v", o.Reason, r)
					deaths[o.Reason] = true
				}
			}
		}
	}
	for status := 100; status <= 599; status++ {
		judge(relay.ClassifyHTTP(relay.Answer{Status: status}, now))
	}
	for _, class := range []relay.Class{relay.ClassRejected, relay.ClassTransient, relay.ClassNotReady, relay.ClassDenied, relay.ClassUnavailable, relay.ClassOutage} {
		judge(relay.Result{Class: class})
	}
	require.Equal(t, map[string]bool{relay.ReasonRejected: true, relay.ReasonTooLarge: true, relay.ReasonMaxAttempts: true, relay.ReasonMaxAge: true,
		relay.ReasonExpired: true, relay.ReasonUnauthorized: true}, deaths)
}

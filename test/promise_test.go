package test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/test/harness"
)

// answer is one HTTP answer that says that a message is stored, and what the
// promises are about: calls that may cover it.
type answer struct {
	id       string
	replayed bool
	call     harness.Call   // writes the answer
	request  harness.Call   // read the request
	writes   []harness.Call // of this message into its block file
	flushes  []harness.Call // of anything that succeeded
}

// promise is what a durability mode owes an answer.
type promise func(a answer) bool

// writtenOnly is os: the write of the message has returned.
func writtenOnly(a answer) bool {
	for _, w := range a.writes {
		if w.Ended < a.call.Begun {
			return true
		}
	}
	return false
}

// syncedAlone is fsync-always: a flush of the block file began after the write
// and has returned.
func syncedAlone(a answer) bool {
	for _, w := range a.writes {
		for _, f := range a.flushes {
			if f.Name != "syncfs" && f.Path == w.Path && w.Ended < f.Begun && f.Ended < a.call.Begun {
				return true
			}
		}
	}
	return false
}

// syncedTogether is fsync-barrier: a flush of the filesystem began after the
// write and has returned. The answer to a known key waits for one of its own,
// begun after it was asked.
func syncedTogether(a answer) bool {
	for _, w := range a.writes {
		for _, f := range a.flushes {
			since := w.Ended
			if a.replayed {
				since = max(since, a.request.Ended)
			}
			if f.Name == "syncfs" && strings.HasPrefix(w.Path, f.Path+"/") && since < f.Begun && f.Ended < a.call.Begun {
				return true
			}
		}
	}
	return false
}

// brokenIn is the answers that left too early.
func brokenIn(answers []answer, p promise) []string {
	var broken []string
	for _, a := range answers {
		if !p(a) {
			broken = append(broken, a.id)
		}
	}
	return broken
}

var (
	storedAnswer  = regexp.MustCompile(`^\d+<socket:\[\d+\]>, (?:\[\{iov_base=)?"HTTP/1\.1 201 Created\\r\\n.*\\r\\nRelay-Message-Id: ([a-z2-7]+-[a-z2-7]+)\\r\\n`)
	storedMessage = regexp.MustCompile(`relay\.([a-z2-7]{8})\.([a-z2-7]{24})\.[a-z2-7]{12}\.report`)
)

// readAnswers finds the answers in the calls of a run, and for each the calls
// that matter to it. A message's write is known by the subject that it is stored
// under, which holds its id.
func readAnswers(t *testing.T, calls []harness.Call) []answer {
	t.Helper()
	var answers []answer
	var flushes []harness.Call
	writes := map[string][]harness.Call{} // by message
	reads := map[string][]harness.Call{}  // by connection
	for _, c := range calls {
		switch {
		case c.Name == "read":
			if c.Result > 0 {
				reads[c.Path] = append(reads[c.Path], c)
			}
		case c.Name == "fsync", c.Name == "fdatasync", c.Name == "syncfs":
			if c.Result == 0 {
				flushes = append(flushes, c)
			}
		case strings.HasSuffix(c.Path, ".blk"):
			for _, m := range storedMessage.FindAllStringSubmatch(c.Text, -1) {
				require.Contains(t, c.Text, fmt.Sprintf(", %d, ", c.Result), "%s wrote less than it was given", c.Name)
				writes[m[1]+"-"+m[2]] = append(writes[m[1]+"-"+m[2]], c)
			}
		default:
			if m := storedAnswer.FindStringSubmatch(c.Text); m != nil {
				answers = append(answers, answer{id: m[1], replayed: strings.Contains(c.Text, `\r\nIdempotent-Replayed: true\r\n`),
					call: c, request: requestOf(t, reads[c.Path], c)})
			}
		}
	}
	for i, a := range answers {
		require.NotEmpty(t, writes[a.id], "the write of %s", a.id)
		answers[i].writes, answers[i].flushes = writes[a.id], flushes
	}
	return answers
}

// requestOf is the last read of a connection before its answer: the clients wait
// for one before they ask the next.
func requestOf(t *testing.T, reads []harness.Call, answer harness.Call) harness.Call {
	t.Helper()
	for _, r := range slices.Backward(reads) {
		if r.Ended < answer.Begun {
			return r
		}
	}
	require.Fail(t, "an answer without a question", answer.Text)
	return harness.Call{}
}

package test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/test/harness"
)

// completeInBash loads the generated script into a real bash, types words, and
// returns what is offered for the last one.
func completeInBash(t *testing.T, words ...string) []string {
	t.Helper()
	bash, err := exec.LookPath("bash")
	require.NoError(t, err, "this test needs bash")
	// The package bash-completion may be missing; the script wants one function of it.
	const script = `
PATH="$1:$PATH"; shift
_get_comp_words_by_ref() { cur="${COMP_WORDS[COMP_CWORD]}"; prev="${COMP_WORDS[COMP_CWORD-1]}"; words=("${COMP_WORDS[@]}"); cword=$COMP_CWORD; }
__ltrim_colon_completions() { :; }
compopt() { :; } # works while a key is pressed only
source <(foreman-relay completion bash)
COMP_WORDS=(foreman-relay "$@"); COMP_CWORD=$#; COMP_LINE="${COMP_WORDS[*]}"; COMP_POINT=${#COMP_LINE}; COMP_TYPE=9
__start_foreman-relay
printf '%s\n' "${COMPREPLY[@]}"
`
	cmd := exec.Command(bash, append([]string{"--norc", "-c", script, "bash", filepath.Dir(harness.Binary(t))}, words...)...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	require.NoError(t, err, errs.String())
	require.Empty(t, errs.String(), "nobody who types wants to read this")
	return strings.Fields(string(out))
}

func TestCompletionInBash(t *testing.T) {
	f := startForm(t, false)
	resp, _ := post(t, f.url+"/relay/v1/queues/default/foreman/messages", nil, []byte(`{}`)) // no report: the stand-in knows no such path
	id := resp.Header.Get("Relay-Message-Id")
	f.awaitState(resp.Header.Get("Location"), "dead")

	require.Subset(t, completeInBash(t, "queue", ""), []string{"ls", "show", "peek", "watch", "pause", "resume"})
	require.Equal(t, []string{"default/foreman"}, completeInBash(t, "queue", "show", "--admin-socket", f.socket, ""))
	require.Equal(t, []string{"default/foreman"}, completeInBash(t, "dlq", "ls", "--admin-socket", f.socket, "--queue", "def"))
	require.Equal(t, []string{id}, completeInBash(t, "dlq", "replay", "--admin-socket", f.socket, id[:10]))
	require.Equal(t, []string{id}, completeInBash(t, "message", "why", "--admin-socket", f.socket, id[:10]))
	require.Empty(t, completeInBash(t, "queue", "show", "--admin-socket", f.socket, "default/foreman", ""), "one queue is enough")
	require.ElementsMatch(t, []string{"json", "jsonl"}, completeInBash(t, "queue", "ls", "-o", "j"))
	require.ElementsMatch(t, []string{"max_attempts", "max_age"}, completeInBash(t, "dlq", "ls", "--reason", "max"))
	require.Equal(t, []string{"queued"}, completeInBash(t, "message", "ls", "--state", "q"))
	for _, words := range [][]string{{"queue", "show"}, {"dlq", "show"}, {"message", "why"}} {
		require.Empty(t, completeInBash(t, append(words, "--admin-socket", "/nowhere/admin.sock", "")...), "without a relay nothing is offered")
	}
}

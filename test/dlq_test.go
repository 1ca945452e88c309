package test

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/test/harness"
)

// A replay of many letters that is interrupted leaves whole letters: what was
// replayed is delivered once, the others are letters still, the ledger balances,
// and the same command goes on with them.
func TestAnInterruptedReplayGoesOn(t *testing.T) {
	inBothForms(t, func(t *testing.T, start func(...string) *form) { interruptedReplay(t, start()) })
}

func interruptedReplay(t *testing.T, f *form) {
	const letters = 12
	for range letters {
		resp, _ := post(t, f.url+"/relay/v1/queues/default/foreman/messages", nil, []byte(`{}`)) // no report: the stand-in knows no such path
		f.awaitState(resp.Header.Get("Location"), "dead")
	}
	replay := []string{"dlq", "replay", "--reason", "rejected", "--limit", "12", "--set-header", "Accept=text/plain", "--yes", "-q", "--admin-socket", f.socket}
	slow := harness.Start(t, append(replay, "--rate", "60/m")...)
	require.Eventually(t, func() bool { return strings.Count(slow.Log(), "\n") >= 3 }, 20*time.Second, 10*time.Millisecond, "the first letters are replayed")
	slow.Signal(syscall.SIGINT)
	require.Equal(t, 7, slow.Wait(20*time.Second))
	require.Regexp(t, `replayed \d of 12 dead letters, 0 failed, \d+ left\nforeman-relay: ended early; the same command again goes on\n$`, slow.Log())
	s := harness.AwaitQueue(t, f.socket, 20*time.Second, harness.Drained)
	require.EqualValues(t, letters, s.Dead, "the replayed ones have died again")
	require.EqualValues(t, s.Accepted, letters+s.Superseded)
	require.Positive(t, s.Superseded)
	require.Less(t, s.Superseded, uint64(letters))
	harness.Audit(t, f.socket)

	first := "--where=replayed_from=" // those that were never replayed
	out, errs, code := harness.Command(t, append(replay, first)...)
	require.Zero(t, code, errs)
	require.Equal(t, letters-int(s.Superseded), strings.Count(out, "\n"))
	s = harness.AwaitQueue(t, f.socket, 20*time.Second, harness.Drained)
	require.EqualValues(t, letters, s.Superseded, "each letter has one replay")
	out, errs, code = harness.Command(t, "dlq", "ls", "--admin-socket", f.socket, "-o", "json")
	require.Zero(t, code, errs)
	var left []relay.DeadLetter
	require.NoError(t, json.Unmarshal([]byte(out), &left))
	from := map[string]bool{}
	for _, l := range left {
		from[l.ReplayedFrom] = true
	}
	require.Len(t, from, letters)
	harness.Audit(t, f.socket)
}

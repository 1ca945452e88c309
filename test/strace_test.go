package test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/test/harness"
)

const (
	tracedClients = 16
	tracedReports = 8 // of each client
)

// No answer leaves before the message is as safe as the mode says, under a
// concurrent load: read from the system calls of the real program. Every third
// report is sent twice at once and every report again at the end, so that
// answers to known keys are held to the same rule.
func TestNoAnswerBeforeItsFlush(t *testing.T) {
	if reason, missing := harness.CannotTrace(); reason != "" {
		if missing && os.Getenv("CI") == "true" {
			require.Fail(t, "CI must show this", reason)
		}
		t.Skip("not shown: ", reason)
	}
	t.Run("fsync-always", func(t *testing.T) {
		requireKept(t, traceLoad(t, t.TempDir(), "fsync-always"), syncedAlone)
	})
	t.Run("fsync-barrier", func(t *testing.T) {
		dir, reason := harness.Mount(t, "ext4", 64<<20, "")
		if reason != "" {
			t.Skip("not shown, it needs an ext4 with a journal: ", reason)
		}
		requireKept(t, traceLoad(t, dir, "fsync-barrier"), syncedTogether)
	})
	// Only here are the stronger promises broken, and that is seen: so the two
	// cases above can fail.
	t.Run("os", func(t *testing.T) {
		answers := traceLoad(t, t.TempDir(), "os")
		requireKept(t, answers, writtenOnly)
		for name, stronger := range map[string]promise{"fsync-always": syncedAlone, "fsync-barrier": syncedTogether} {
			broken := brokenIn(answers, stronger)
			t.Logf("%d of %d answers break what %s promises", len(broken), len(answers), name)
			require.Greater(t, len(broken), len(answers)/4, name) // a sync in the background may cover a few
		}
	})
}

func requireKept(t *testing.T, answers []answer, p promise) {
	t.Helper()
	broken := brokenIn(answers, p)
	t.Logf("%d answers, %d too early", len(answers), len(broken))
	require.Empty(t, broken)
}

// traceLoad runs the program with the load under strace and returns every answer
// that said "stored", with what the kernel had been asked for until then.
func traceLoad(t *testing.T, dir, mode string) []answer {
	t.Helper()
	address := harness.FreeAddress(t)
	state := filepath.Join(dir, "state")
	program := harness.StartTraced(t, "serve", "--listen", address, "--state-dir", state, "--durability", mode, "--log-level", "warn")
	f := &form{t: t, url: "http://" + address, edge: program.Process}
	f.awaitReady()
	l := &tracedLoad{url: f.url, stored: map[string]int{}}
	l.run()
	require.Zero(t, program.Stop(20*time.Second), program.Log())

	answers := readAnswers(t, program.Calls())
	seen := map[string]int{}
	replayed := 0
	for _, a := range answers {
		seen[a.id]++
		if a.replayed {
			replayed++
		}
	}
	require.Equal(t, l.stored, seen, "the trace holds every answer")
	require.Len(t, l.stored, tracedClients*tracedReports)
	require.GreaterOrEqual(t, replayed, len(l.stored), "each was sent again")
	return answers
}

// tracedLoad posts reports, and counts the answers with 201 by message.
type tracedLoad struct {
	url string

	mu     sync.Mutex
	stored map[string]int
}

func (l *tracedLoad) run() {
	var clients sync.WaitGroup
	for c := range tracedClients {
		clients.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: 20 * time.Second}
			defer client.CloseIdleConnections()
			for i := range tracedReports {
				var twin sync.WaitGroup
				if i%3 == 0 {
					twin.Go(func() { l.post(client, c, i) })
				}
				l.post(client, c, i)
				twin.Wait()
			}
			for i := range tracedReports {
				l.post(client, c, i)
			}
		})
	}
	clients.Wait()
}

// post counts 201 only: of two equal requests at one moment one may be told that
// the other is under way. What fails is missed by who counts.
func (l *tracedLoad) post(client *http.Client, c, i int) {
	body := harness.Report(fmt.Sprintf("host%d.example.com", c), fmt.Sprintf("2026-01-01 00:00:%02d UTC", i))
	resp, err := client.Post(l.url+"/api/config_reports", "application/json", bytes.NewReader(body))
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, resp.Body) // so that the connection is used again
	_ = resp.Body.Close()
	if resp.StatusCode == http.StatusCreated {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.stored[resp.Header.Get("Relay-Message-Id")]++
	}
}

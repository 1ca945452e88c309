package test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/test/harness"
)

var (
	acceptedAnswer = regexp.MustCompile(`^\d+<socket:\[\d+\]>, (?:\[\{iov_base=)?"HTTP/1\.1 202 Accepted\\r\\n`)
	largeMessage   = regexp.MustCompile(`relay\.[a-z2-7]{8}\.[a-z2-7]{24}\.[a-z2-7]{12}\.message`)
)

// No answer leaves before a large body is as safe as its message: with
// fsync-always its file is synced before the message is published, with
// fsync-barrier one syncfs begins after both and ends before the answer.
func TestNoAnswerBeforeTheFlushOfALargeBody(t *testing.T) {
	if reason, missing := harness.CannotTrace(); reason != "" {
		if missing && os.Getenv("CI") == "true" {
			require.Fail(t, "CI must show this", reason)
		}
		t.Skip("not shown: ", reason)
	}
	t.Run("fsync-always", func(t *testing.T) {
		c := traceLargeBody(t, t.TempDir(), "fsync-always")
		require.True(t, c.flushed("fsync", c.objects[0].Path, c.lastPiece(), c.message.Begun), "the file, before the message is written")
		require.True(t, c.flushed("fsync", filepath.Dir(c.objects[0].Path), c.lastPiece(), c.message.Begun), "its directory")
	})
	t.Run("fsync-barrier", func(t *testing.T) {
		dir, reason := harness.Mount(t, "ext4", 64<<20, "")
		if reason != "" {
			t.Skip("not shown, it needs an ext4 with a journal: ", reason)
		}
		c := traceLargeBody(t, dir, "fsync-barrier")
		require.Less(t, c.lastPiece(), c.message.Begun)
		require.True(t, c.flushed("syncfs", "", c.message.Ended, c.answer.Begun), "both, before the answer")
	})
}

// largeCalls are the calls of one large body's way.
type largeCalls struct {
	objects, flushes []harness.Call
	message, answer  harness.Call
}

func traceLargeBody(t *testing.T, dir, mode string) largeCalls {
	t.Helper()
	address := harness.FreeAddress(t)
	p := harness.StartTraced(t, "serve", "--listen", address, "--state-dir", filepath.Join(dir, "state"), "--durability", mode, "--log-level", "warn")
	f := &form{t: t, url: "http://" + address, edge: p.Process}
	f.awaitReady()
	_, _, err := upload(t.Context(), f.url, 1, 2<<20)
	require.NoError(t, err)
	require.Zero(t, p.Stop(20*time.Second), p.Log())
	var c largeCalls
	for _, call := range p.Calls() {
		switch {
		case call.Name == "read":
		case strings.HasSuffix(call.Name, "sync") || call.Name == "syncfs":
			if call.Result == 0 {
				c.flushes = append(c.flushes, call)
			}
		case strings.Contains(call.Path, "/objects/"):
			c.objects = append(c.objects, call)
		case strings.HasSuffix(call.Path, ".blk") && largeMessage.MatchString(call.Text):
			c.message = call
		case acceptedAnswer.MatchString(call.Text):
			c.answer = call
		}
	}
	require.Len(t, c.objects, 4, "a write for each piece")
	require.NotEmpty(t, c.message.Name, "the write of the message")
	require.NotEmpty(t, c.answer.Name, "the answer")
	return c
}

func (c largeCalls) lastPiece() int { return c.objects[len(c.objects)-1].Ended }

// flushed says whether a flush began after one moment and ended before another.
func (c largeCalls) flushed(name, path string, after, before int) bool {
	for _, f := range c.flushes {
		if f.Name == name && (path == "" || f.Path == path) && f.Begun > after && f.Ended < before {
			return true
		}
	}
	return false
}

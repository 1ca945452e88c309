package handlers_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

// entries reads the log as Foreman does.
func entries(t *testing.T, log *handlers.ProxyLog) (messages []string) {
	t.Helper()
	var answer struct {
		Logs []struct {
			Timestamp float64
			Message   string
		}
	}
	e := newProxy(t, func(o *handlers.SmartProxyOptions) { o.Log = log })
	require.NoError(t, json.Unmarshal(get(e, "/logs").Body.Bytes(), &answer))
	before := 0.0
	for _, l := range answer.Logs {
		require.GreaterOrEqual(t, l.Timestamp, before, "the oldest first")
		before = l.Timestamp
		messages = append(messages, l.Message)
	}
	return messages
}

// TestTheLogIsBounded: 2000 entries, and 1000 errors that are older; a flood of
// refusals does not push the dead letters out.
func TestTheLogIsBounded(t *testing.T) {
	now := noon
	log := handlers.NewProxyLog(func() time.Time { now = now.Add(time.Millisecond); return now })
	for n := range 1200 {
		log.Buried(relay.DeadLetter{ID: fmt.Sprint("letter-", n)}, "")
	}
	require.Len(t, entries(t, log), 1200)
	for n := range 5000 {
		log.Add(handlers.LevelWarn, "", fmt.Sprint("flood ", n))
	}
	all := entries(t, log)
	require.Len(t, all, 3000)
	require.Contains(t, all[0], "letter-200 ")
	require.Contains(t, all[999], "letter-1199 ")
	require.Equal(t, "flood 3000", all[1000])
	require.Equal(t, "flood 4999", all[2999])
}

func TestAnEntryIsBounded(t *testing.T) {
	log := handlers.NewProxyLog(func() time.Time { return noon })
	log.Add(handlers.LevelWarn, "", strings.Repeat("x", 1023)+"ö"+strings.Repeat("y", 1<<20))
	log.Add(handlers.LevelWarn, "", "a\nb\x00\xff<&>")
	require.Equal(t, []string{strings.Repeat("x", 1023), "a\nb\x00�<&>"}, entries(t, log))
}

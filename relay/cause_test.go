package relay

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWhatDiffersFromMessageToMessageIsLeftOut(t *testing.T) {
	for text, want := range map[string]string{
		"Host web01.example.com not found":                                       "Host <host> not found",
		"host WEB01 has 3 reports.":                                              "host <host> has <n> reports.",
		"web01x is not web01-b":                                                  "web<n>x is not web<n>-b",
		`Couldn't find Host with 'name'=web17.lan`:                               `Couldn't find Host with <quoted>=<host>`,
		"undefined method `[]' for nil:NilClass":                                 "undefined method <quoted> for nil:NilClass",
		`report 0b1e51a3-7a44-4d0e-9c35-20a6ec56d5d5 at 2026-11-24 12:00:01 UTC`: "report <uuid> at <time>",
		"2026-11-24T12:00:01.123+01:00 and 2026-11-24":                           "<time> and <time>",
		"digest deadbeef01, at 0xffff":                                           "digest <hex>, at <hex>",
		"connection to 10.1.2.3:443 refused: nothing listens there":              "connection to <address>:<n> refused: nothing listens there",
		"connection to [fd00::1]:443 refused":                                    "connection to [<address>]:<n> refused",
		`{"error": {"id":7, "message":"Host web02.example.com is gone"}}`:        `{"error": {"id":<n>, "message":"Host <host> is gone"}}`,
		"Reported at  has\nalready  been taken":                                  "Reported at has already been taken",
		"":                                                                       "",
	} {
		require.Equal(t, want, Normalize(text, "web01"), text)
	}
	require.LessOrEqual(t, len(Normalize(fmt.Sprintf("%01000s", "ä ö"), "")), maxNormalized)
	long := ""
	for range 100 {
		long += "wörter "
	}
	require.LessOrEqual(t, len(Normalize(long, "")), maxNormalized)
}

// Memory is bounded, whatever the letters say: the rare give way to the frequent,
// and what is not listed is counted.
func TestCausesAreBounded(t *testing.T) {
	noon := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	var c Causes
	add := func(n int, route string) {
		c.Add(DeadLetter{ID: fmt.Sprint(route, n), Route: route, Reason: ReasonRejected, Status: 422, DiedAt: noon.Add(time.Duration(n) * time.Second), Detail: "no"})
	}
	for n := range 3 * MaxCauses {
		add(n, fmt.Sprintf("rare%d", n))
		require.LessOrEqual(t, len(c.groups), MaxCauses)
	}
	for n := range 500 { // a frequent one that begins late
		add(n, "often")
		add(n, fmt.Sprintf("late%d", n))
	}
	r := c.Report(1)
	require.EqualValues(t, 3*MaxCauses+1000, r.Letters)
	require.Equal(t, r.Letters-500, r.Other)
	require.Equal(t, []Cause{{Count: 500, Route: "often", Reason: ReasonRejected, Status: 422, Text: "no", First: noon, Last: noon.Add(499 * time.Second), Example: "often499"}}, r.Causes)
	require.Len(t, c.Report(0).Causes, DefaultCauses)
}

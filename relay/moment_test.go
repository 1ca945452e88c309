package relay

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseMoment(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 500, time.UTC)
	day := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Time{
		"2026-11-25T12:00:00Z":              day,
		"2026-11-25T13:00:00+01:00":         day,
		"2026-11-25T12:00:00.25Z":           day.Add(250 * time.Millisecond),
		"Wed, 25 Nov 2026 12:00:00 GMT":     day,
		"Wednesday, 25-Nov-26 12:00:00 GMT": day,
		"90":                                now.Add(90 * time.Second),
		" 90s ":                             now.Add(90 * time.Second),
		"1h30m":                             now.Add(90 * time.Minute),
		"250ms":                             now.Add(250 * time.Millisecond),
		"3d":                                now.Add(72 * time.Hour),
		"-5s":                               now.Add(-5 * time.Second),
		"0":                                 now,
	} {
		got, err := ParseMoment(value, now)
		require.NoError(t, err, value)
		require.True(t, want.Equal(got), "%s: %v, not %v", value, got, want)
	}
	for _, value := range []string{"", "soon", "2026-11-25", "2026-11-25 12:00:00", "2026-13-25T12:00:00Z", "12:00", "1.5", "d", "90 s", "1w", "99999999999", "0x10", "Wed, 25 Nov 2026 12:00:00 CET"} {
		_, err := ParseMoment(value, now)
		require.Equal(t, CodeMalformed, CodeOf(err), value)
		require.ErrorContains(t, err, "90s, 2h, 3d, or seconds", value)
	}
}

func TestParsePriority(t *testing.T) {
	for value, want := range map[string][2]bool{"": {false, true}, "urgent": {true, true}, "bulk": {false, false}, " Urgent ": {true, true}} {
		for i, route := range []bool{false, true} {
			got, err := ParsePriority(value, route)
			require.NoError(t, err)
			require.Equal(t, want[i], got, "%q where the route says %v", value, route)
		}
	}
	_, err := ParsePriority("high", true)
	require.Equal(t, CodeMalformed, CodeOf(err))
	require.ErrorContains(t, err, "write urgent or bulk")
}

// The time of the edge counts, but for what is only the way between the clocks.
func TestEdgeClock(t *testing.T) {
	here := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	var c edgeClock
	require.Equal(t, here, c.at(here))
	c.set(here, here.Add(2*time.Second), here.Add(time.Hour+time.Second))
	require.Equal(t, here.Add(time.Hour), c.at(here))
	c.set(here, here, time.Time{}) // an edge that tells no time
	require.Equal(t, here.Add(time.Hour), c.at(here))
	c.set(here, here, here.Add(-time.Hour))
	require.Equal(t, here.Add(-time.Hour), c.at(here))
	c.set(here, here.Add(10*time.Millisecond), here.Add(900*time.Millisecond))
	require.Equal(t, here, c.at(here))
	c.set(here, here.Add(5*time.Second), here.Add(6*time.Second)) // the answer may have been on its way for long
	require.Equal(t, here, c.at(here))
}

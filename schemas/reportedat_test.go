package schemas_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/theforeman/foreman-relay/schemas"
)

func TestParseReportedAt(t *testing.T) {
	run := time.Date(2026, 11, 23, 16, 13, 6, 0, time.UTC)
	early := time.Date(2026, 1, 3, 4, 5, 6, 0, time.UTC)
	tests := map[string]time.Time{
		"2026-11-23 16:13:06 UTC":           run, // Puppet's report processor
		"2026-11-23 16:13:06+00:00":         run, // the Ansible callback
		"  2026-11-23 16:13:06 UTC\n":       run,
		"2026-11-23 16:13:06":               run,
		"2026-11-23T16:13:06":               run,
		"2026-11-23 16:13:06 GMT":           run,
		"2026-11-23 16:13:06Z":              run,
		"2026-11-23 16:13:06 Z":             run,
		"2026-11-23T16:13:06Z":              run,
		"2026-11-23T17:13:06+01:00":         run,
		"2026-11-23T17:13:06+0100":          run,
		"2026-11-23T17:13:06+01":            run,
		"2026-11-23 17:13:06 +01:00":        run,
		"2026-11-23 17:13:06 +0100":         run,
		"2026-11-23 10:43:06 -0530":         run,
		"20261123T161306Z":                  run,
		"20261123T161306":                   run,
		"20261123T171306+0100":              run,
		"20261123161306":                    run,
		"Mon, 23 Nov 2026 16:13:06 GMT":     run,
		"Mon, 23 Nov 2026 17:13:06 +0100":   run,
		"23 Nov 2026 16:13:06 UTC":          run,
		"Mon Nov 23 16:13:06 2026":          run,
		"Mon Nov 23 16:13:06 UTC 2026":      run,
		"Mon Nov 23 17:13:06 +0100 2026":    run,
		"Mon Nov 23 2026 16:13:06 GMT":      run,
		"Sat Jan  3 04:05:06 2026":          early,
		"Sat, 3 Jan 2026 04:05:06 GMT":      early,
		"2026-11-23T16:13:06.123456789Z":    run.Add(123456789),
		"2026-11-23T16:13:06.5+00:00":       run.Add(time.Second / 2),
		"2026-11-23 16:13:06,25 UTC":        run.Add(time.Second / 4),
		"2026-11-23 16:13":                  run.Truncate(time.Minute),
		"2026-11-23T16:13":                  run.Truncate(time.Minute),
		"2026-11-23 16:13 UTC":              run.Truncate(time.Minute),
		"2026-11-23T16:13Z":                 run.Truncate(time.Minute),
		"20261123T1613Z":                    run.Truncate(time.Minute),
		"2026-11-23":                        run.Truncate(24 * time.Hour),
		"20261123":                          run.Truncate(24 * time.Hour),
		"2026-11-24T00:13:06.000+08:00":     run,
		"2026-11-23 16:13:06.000000 +00:00": run,
	}
	for text, want := range tests {
		t.Run(text, func(t *testing.T) {
			got, ok := schemas.ParseReportedAt(text)
			assert.True(t, ok)
			assert.Equal(t, want, got)
			assert.Equal(t, time.UTC, got.Location())
			assert.True(t, schemas.ReadableReportedAt(text))
		})
	}
}

func TestParseReportedAtDoesNotGuess(t *testing.T) {
	for _, text := range []string{
		"", " ", "yesterday", "16:13",
		"2026-11-23 16:13:06 CET",       // package time would make it UTC
		"Mon, 23 Nov 2026 16:13:06 EST", // and this one too
		"2026-11-23 16:13:06 GMT+3",     // its sign is read both ways
		"2026-02-30 10:00:00",
		"2026-13-45 99:99:99",
		"11/12/2026",
		strings.Repeat(" ", 50) + strings.Repeat("2026-11-23 ", 20),
	} {
		got, ok := schemas.ParseReportedAt(text)
		assert.False(t, ok, text)
		assert.Zero(t, got, text)
	}
}

// The answers of Ruby 3.1.7 to Time.parse, which Foreman calls.
func TestReadableReportedAt(t *testing.T) {
	accepted := []string{
		"2026-02-30", "2026-04-31 10:00:00", "2026-11-23 24:00:00", "2026-11-23 10:00:60",
		"2026-11-23 16:13:06 CET", "Monday, 23-Nov-26 16:13:06 UTC", "2026-1-5", "2026-11-23t16:13:06z",
		"11/23", "1/2", "1.2.3", "1-2-3", "1:2", "1_:2", "9 Sun : 2 :", "5h", "5pm", "5 p.m.", "'5", "1st",
		"may 1", "1 may", "1remarkable", "h1.2.3", "may x 1", "23 listopada 2026", "20121301.5", "2026-13-05 jan",
		"1１monmay", "2026-11-23T96:13:06.123+01:00", "2020-11-23 27:00:0b", "2026-13-00T00:30+01:00",
		"2026-11-45T26:13:00-01:00", strings.Repeat(" ", 118) + "2026-11-23",
	}
	for _, text := range accepted {
		assert.True(t, schemas.ReadableReportedAt(text), text)
	}
	refused := []string{
		"", " ", "yesterday", "garbage", "no digits here", "monday", "not-a-date-1", "monday 1", "-w-5", "1", "２０２６", "½",
		"2026-13-45 99:99:99", "2026-13-45 99:99:99 UTC", "2026-13-45T10:00:00Z", "2026-13-45T10:00:00+02:00",
		"2026-00-10", "2026-11-00", "2026-11-32", "2026-11-23 24:00:01", "2026-11-23 25:00", "2026-11-23 10:60",
		"2026-11-23 10:00:61", "2026-13-05 12:00 jan", "20261345T999999Z", "20261345", "20261123T250000Z",
		strings.Repeat(" ", 119) + "2026-11-23", strings.Repeat("2026-11-23 ", 1e5),
	}
	for _, text := range refused {
		assert.False(t, schemas.ReadableReportedAt(text), text)
	}
}

// Where the answer differs from Ruby's on purpose.
func TestReadableReportedAtDiffersFromRuby(t *testing.T) {
	for _, text := range []string{"May", "mayhem", "December"} { // Ruby: the first of the month
		assert.False(t, schemas.ReadableReportedAt(text), text)
	}
	for _, text := range []string{"garbage 42", "11/32", "99:99", "2026-W05-2"} { // Ruby: out of range, or too little
		assert.True(t, schemas.ReadableReportedAt(text), text)
	}
}

func FuzzReadableReportedAt(f *testing.F) {
	for _, text := range []string{"2026-11-23 16:13:06 UTC", "20261123T161306Z", "Mon Nov 23 16:13:06 2026", "2026-13-45 99:99:99", "not-a-date-1", "9 Sun : 2", "\xff1:2"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		readable := schemas.ReadableReportedAt(text)
		assert.False(t, readable && !strings.ContainsAny(text, "0123456789"), "no digit, no time")
		at, ok := schemas.ParseReportedAt(text)
		if !ok {
			return
		}
		if len(text) <= 128 {
			assert.True(t, readable, "what can be parsed is readable")
		}
		again, ok := schemas.ParseReportedAt(at.Format(time.RFC3339Nano))
		assert.True(t, ok && again.Equal(at), "%s is read as %s", at, again)
	})
}

func BenchmarkReadableReportedAt(b *testing.B) {
	for _, text := range []string{"2026-11-23 16:13:06 UTC", "Mon Nov 23 16:13:06 2026", "2026-11-23 16:13:06 CET", "not-a-date-1"} {
		b.Run(text, func(b *testing.B) {
			for b.Loop() {
				schemas.ReadableReportedAt(text)
			}
		})
	}
}

package schemas

import (
	"errors"
	"strings"
	"time"
)

// reportedAtFormat is the name of the format in the schemas.
const reportedAtFormat = "reported_at"

// maxReportedAt is the longest text that Ruby's Date._parse takes; since the
// fix of CVE-2021-41817 it raises ArgumentError for any longer one.
const maxReportedAt = 128

var errReportedAt = errors.New("has no date and time that can be read")

// reportedAtLayouts are the forms whose meaning is beyond doubt, the one of
// Puppet's report processor first. A fraction after the seconds needs no layout
// of its own: package time takes it everywhere.
var reportedAtLayouts = []string{
	"2006-01-02 15:04:05 MST",
	"2006-01-02 15:04:05Z07:00",
	"2006-01-02T15:04:05Z07:00",
	"2006-01-02 15:04:05",
	"2006-01-02T15:04:05",
	"2006-01-02 15:04:05 Z07:00",
	"2006-01-02 15:04:05 Z0700",
	"2006-01-02 15:04:05Z0700",
	"2006-01-02T15:04:05Z0700",
	"2006-01-02T15:04:05Z07",
	"2006-01-02 15:04:05Z07",
	"2006-01-02 15:04",
	"2006-01-02T15:04",
	"2006-01-02 15:04 MST",
	"2006-01-02 15:04Z07:00",
	"2006-01-02 15:04 Z07:00",
	"2006-01-02T15:04Z07:00",
	"20060102T150405Z0700",
	"20060102T150405",
	"20060102T1504Z0700",
	"20060102T1504",
	"20060102150405",
	"Mon, 2 Jan 2006 15:04:05 MST",
	"Mon, 2 Jan 2006 15:04:05 -0700",
	"2 Jan 2006 15:04:05 MST",
	"2 Jan 2006 15:04:05 -0700",
	"Mon Jan _2 15:04:05 2006",
	"Mon Jan _2 15:04:05 MST 2006",
	"Mon Jan _2 15:04:05 -0700 2006",
	"Mon Jan _2 2006 15:04:05 MST",
	"2006-01-02",
	"20060102",
}

// ParseReportedAt reads the usual forms of reported_at and answers in UTC. A
// text without a zone is taken to be UTC, as Foreman's API documents the field.
// It answers false for everything else, which is no verdict on the text: a zone
// such as "CET" means different things to different readers, so a time that
// depends on one is not guessed. ReadableReportedAt gives the verdict.
func ParseReportedAt(s string) (time.Time, bool) {
	s = strings.TrimSpace(s)
	if s == "" || len(s) > maxReportedAt {
		return time.Time{}, false
	}
	for _, layout := range reportedAtLayouts {
		t, err := time.ParseInLocation(layout, s, time.UTC)
		if err == nil && knownZone(t) {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// knownZone refuses the zones that package time invents: for an abbreviation
// that it does not know it makes up one of that name, without an offset.
func knownZone(t time.Time) bool {
	name, offset := t.Zone()
	return name == "" || name == "UTC" || name == "GMT" && offset == 0
}

// checkReportedAt is the format in the library's terms; the type of the value
// is the concern of another rule.
func checkReportedAt(v any) error {
	if s, ok := v.(string); ok && !ReadableReportedAt(s) {
		return errReportedAt
	}
	return nil
}

package schemas

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// ReadableReportedAt tells whether Foreman may be able to read s as the time of
// a report. Foreman calls Ruby's Time.parse (app/services/report_importer.rb),
// which takes whatever Date._parse finds a date or a time in, and answers 500
// for ever to the rest. In doubt the answer is true: the message is then kept
// and Foreman decides. It is false for a text in which no date or time can be
// found, and for an ISO 8601 one that is out of range.
//
// One thing that Ruby reads is refused all the same: a text without any digit.
// Date._parse takes "May" and even "mayhem" for the first of May.
func ReadableReportedAt(s string) bool {
	if len(s) > maxReportedAt || !strings.ContainsAny(s, "0123456789") {
		return false
	}
	if _, ok := ParseReportedAt(s); ok {
		return true
	}
	for _, shape := range []*regexp.Regexp{isoExtended, isoBasic} {
		if fields := shape.FindStringSubmatch(s); fields != nil {
			return inRange(fields[1:])
		}
	}
	seen := strings.Map(rubySees, s)
	return rubyFinds.MatchString(seen) || rubyFinds.MatchString(withoutWeekday(seen))
}

// The two shapes of ISO 8601: month, day, hour, minute, second, zone. They take
// the whole text, since Date._parse prefers other forms within a longer one
// ("2026-13-05 jan" is the fifth of January).
var (
	isoExtended = regexp.MustCompile(`^\s*\d{4}-(\d{1,2})-(\d{1,2})` +
		`(?:[Tt\s]\s*(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:[.,]\d+)?)?` +
		`\s*([A-Za-z]{1,5}|[-+]\d{2}(?::?\d{2})?)?)?\s*$`)
	isoBasic = regexp.MustCompile(`^\s*\d{4}(\d{2})(\d{2})` +
		`(?:[Tt]?(\d{2})(\d{2})(\d{2})([Zz]|[-+]\d{4})?)?\s*$`)
	utcZone = regexp.MustCompile(`(?i)^(?:z|ut|utc|gmt|[-+]00:?(?:00)?)?$`)
)

// inRange checks the fields of a shape (from the hour on they may be absent) as
// Ruby's Time does: it takes the 31st of every month, a leap second, and
// 24:00:00 for the end of the day. A zone other than UTC moves the clock, and
// Ruby carries what overflows, even from the day into the month; only a month
// that no carry can reach is then certain to be refused.
func inRange(fields []string) bool {
	var n [5]int
	for i := range n {
		n[i], _ = strconv.Atoi(fields[i]) // two digits at most, or none
	}
	month, day, hour, minute, second := n[0], n[1], n[2], n[3], n[4]
	monthFits := month >= 1 && month <= 12
	if !utcZone.MatchString(fields[5]) {
		return monthFits || day <= 1
	}
	if !monthFits || day < 1 || day > 31 {
		return false
	}
	if hour == 24 {
		return minute == 0 && second == 0
	}
	return hour < 24 && minute < 60 && second <= 60
}

// rubyFinds holds what Date._parse looks for (ext/date/date_parse.c in Ruby),
// with its own order, captures and ranges left out: any of them will do.
var rubyFinds = regexp.MustCompile(`(?i)` + strings.Join([]string{
	`\d\d`,                             // parse_ddd: two digits can be a day at least
	`\d\s*:\s*\d`,                      // parse_time: 9:05
	`\d\s*h`,                           // parse_time: 9h
	`\d\s*[ap]\.?m`,                    // parse_time: 9 pm, 9 p.m.
	`\d[^-\d\s]*\s*(?:` + months + `)`, // parse_eu: 9 January
	`\b(?:` + months + `)`,             // parse_us, parse_vms, parse_mon: January 9
	`\d-\d-'?-?\d`,                     // parse_iso: 1-2-3
	`\b[mtsh]\d\.\d\.\d`,               // parse_jis: years of Japanese eras
	`\d/\s*'?\d`,                       // parse_sla: 3/4
	`\d\.\s*'?\d\.\s*'?-?\d`,           // parse_dot: 1.2.3
	`'\d`,                              // parse_year: '6
	`\d(?:st|nd|rd|th)`,                // parse_mday: 1st
}, "|"))

const months = `jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec`

// rubySees maps to a space what Date._parse removes before it looks.
func rubySees(r rune) rune {
	if unicode.IsLetter(r) || unicode.IsNumber(r) || strings.ContainsRune("-+',./:@[]", r) {
		return r
	}
	return ' '
}

// weekday is what Date._parse takes out before all else (parse_day), so that
// "9 Sun : 30" is half past nine. It is no date: Time.parse refuses "Sunday".
var weekday = regexp.MustCompile(`(?i)\b(?:sun|mon|tue|wed|thu|fri|sat)[^-/\d\s]*`)

func withoutWeekday(s string) string {
	if at := weekday.FindStringIndex(s); at != nil {
		return s[:at[0]] + " " + s[at[1]:]
	}
	return s
}

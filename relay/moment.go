package relay

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// ParseMoment reads a moment as senders write it: an absolute one in RFC 3339 or
// as an HTTP date, or how long from now, as a duration (90s, 2h30m, 3d) or in
// plain seconds. Relative ones count from now, by this clock. CodeMalformed.
func ParseMoment(value string, now time.Time) (time.Time, error) {
	value = strings.TrimSpace(value)
	if seconds, err := strconv.ParseInt(value, 10, 32); err == nil {
		return now.Add(time.Duration(seconds) * time.Second), nil
	}
	if d, err := parseLength(value); err == nil {
		return now.Add(d), nil
	}
	if t, err := time.Parse(time.RFC3339Nano, value); err == nil {
		return t, nil
	}
	if t, err := http.ParseTime(value); err == nil {
		return t, nil
	}
	return time.Time{}, Refuse(CodeMalformed, "%q is no time: write it as in 2006-01-02T15:04:05Z or Mon, 02 Jan 2006 15:04:05 GMT, or how long from now: 90s, 2h, 3d, or seconds", value)
}

// parseLength reads a duration, or whole days.
func parseLength(value string) (time.Duration, error) {
	if number, isDays := strings.CutSuffix(value, "d"); isDays {
		days, err := strconv.ParseInt(number, 10, 16)
		return time.Duration(days) * 24 * time.Hour, err
	}
	return time.ParseDuration(value)
}

// CheckTimes says what is wrong with the times that a message was given, as of
// now: CodeInvalid. Nothing is scheduled further ahead than maxAge, because what
// waits keeps everything behind it in the journal.
func (m *Message) CheckTimes(now time.Time, maxAge time.Duration) error {
	switch {
	case m.NotBefore.After(now.Add(maxAge)):
		return Refuse(CodeInvalid, "header %s: %s is further ahead than %s, the maximum age of a message here; send it later; nothing was stored",
			hdrNotBefore, m.NotBefore.UTC().Format(time.RFC3339), maxAge)
	case m.Expires.IsZero():
		return nil
	case !m.Expires.After(now):
		return Refuse(CodeInvalid, "header %s: %s is over, by this clock it is %s: nobody needs the message any more; give it more time, or drop it; nothing was stored",
			hdrExpires, m.Expires.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case !m.NotBefore.Before(m.Expires):
		return Refuse(CodeInvalid, "headers %s and %s: the message would expire at %s, before it may be delivered at %s; change one of them; nothing was stored",
			hdrNotBefore, hdrExpires, m.Expires.UTC().Format(time.RFC3339), m.NotBefore.UTC().Format(time.RFC3339))
	default:
		return nil
	}
}

// The priorities as senders write them.
const (
	priorityUrgent = "urgent"
	priorityBulk   = "bulk"
)

// ParsePriority reads a priority; empty: as the route has it. CodeMalformed.
func ParsePriority(value string, urgent bool) (bool, error) {
	switch strings.ToLower(strings.TrimSpace(value)) {
	case "":
		return urgent, nil
	case priorityUrgent:
		return true, nil
	case priorityBulk:
		return false, nil
	default:
		return false, Refuse(CodeMalformed, "%q is no priority; write %s or %s", value, priorityUrgent, priorityBulk)
	}
}

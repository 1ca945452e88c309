package relay

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// DeadLetterFilter chooses dead letters. Zero values do not limit, but Limit 0
// means DefaultDeadLetterLimit.
type DeadLetterFilter struct {
	Queue *Queue
	Since time.Time // of their death
	Where []Condition
	Limit int
	// After is the Place behind which a listing of one queue goes on, in the order
	// of places.
	After uint64
}

// DefaultDeadLetterLimit is how many dead letters a listing holds unless told,
// MaxDeadLetterLimit the most; EachDeadLetter reads more of them, in pages.
const (
	DefaultDeadLetterLimit = 1000
	MaxDeadLetterLimit     = 10_000
)

// maxConditions bounds what one filter may ask.
const maxConditions = 32

// Check refuses what no listing can be.
func (f DeadLetterFilter) Check() error {
	switch {
	case f.Limit < 0 || f.Limit > MaxDeadLetterLimit:
		return Refuse(CodeMalformed, "limit is %d; it must be from 1 to %d", f.Limit, MaxDeadLetterLimit)
	case f.After > 0 && f.Queue == nil:
		return Refuse(CodeMalformed, "a listing goes on after a place in one queue only: name the queue")
	default:
		return nil
	}
}

// Matches says whether a letter is one of those that were asked for. It is the
// one place where the filter is understood.
func (f DeadLetterFilter) Matches(l DeadLetter) bool {
	if f.Queue != nil && (l.Organization != f.Queue.Organization || l.Destination != f.Queue.Destination) {
		return false
	}
	if l.DiedAt.Before(f.Since) {
		return false
	}
	for _, c := range f.Where {
		if !c.holds(letterFields[c.Field](l)) {
			return false
		}
	}
	return true
}

// letterFields are what conditions can be about.
var letterFields = map[string]func(DeadLetter) string{
	"id":            func(l DeadLetter) string { return l.ID },
	"organization":  func(l DeadLetter) string { return l.Organization },
	"destination":   func(l DeadLetter) string { return l.Destination },
	"route":         func(l DeadLetter) string { return l.Route },
	"host":          func(l DeadLetter) string { return l.Lane },
	"key":           func(l DeadLetter) string { return l.Key },
	"reason":        func(l DeadLetter) string { return l.Reason },
	"status":        func(l DeadLetter) string { return strconv.Itoa(l.Status) },
	"attempts":      func(l DeadLetter) string { return strconv.Itoa(l.Attempts) },
	"detail":        func(l DeadLetter) string { return l.Detail },
	"path":          func(l DeadLetter) string { return l.Path },
	"content_type":  func(l DeadLetter) string { return l.ContentType },
	"replayed_from": func(l DeadLetter) string { return l.ReplayedFrom },
	"sender":        func(l DeadLetter) string { return l.Sender },
}

// Condition compares one field with a value: = is, != is not, ~ contains.
type Condition struct{ Field, Operator, Value string }

// String is the condition as ParseCondition reads it.
func (c Condition) String() string { return c.Field + c.Operator + c.Value }

func (c Condition) holds(value string) bool {
	switch c.Operator {
	case "=":
		return value == c.Value
	case "!=":
		return value != c.Value
	default:
		return strings.Contains(value, c.Value)
	}
}

// ParseCondition reads field=value, field!=value or field~substring; the value
// is everything behind the operator. Hosts are compared as lanes are kept: in
// lower case.
func ParseCondition(s string) (Condition, error) {
	i := strings.IndexAny(s, "=!~")
	if i < 0 || (s[i] == '!' && !strings.HasPrefix(s[i:], "!=")) {
		return Condition{}, Refuse(CodeMalformed, "%q is no condition: write FIELD=VALUE, FIELD!=VALUE or FIELD~SUBSTRING; the fields are %s", s, fieldNames())
	}
	c := Condition{Field: strings.TrimSpace(s[:i]), Operator: s[i : i+1]}
	if s[i] == '!' {
		c.Operator = "!="
	}
	c.Value = s[i+len(c.Operator):]
	if _, known := letterFields[c.Field]; !known {
		return c, Refuse(CodeMalformed, "%q is not a field of a dead letter; the fields are %s", c.Field, fieldNames())
	}
	if c.Field == "host" {
		c.Value = strings.ToLower(c.Value)
	}
	return c, nil
}

// ParseWhere reads conditions divided by commas; a comma that belongs to a value
// is written \, and a backslash \\.
func ParseWhere(expressions ...string) ([]Condition, error) {
	var all []Condition
	for _, expression := range expressions {
		for _, part := range splitCommas(expression) {
			c, err := ParseCondition(part)
			if err != nil {
				return nil, err
			}
			all = append(all, c)
		}
	}
	if len(all) > maxConditions {
		return nil, Refuse(CodeMalformed, "%d conditions are more than the %d that one filter may have", len(all), maxConditions)
	}
	return all, nil
}

func splitCommas(s string) []string {
	var parts []string
	var part strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s) && (s[i+1] == ',' || s[i+1] == '\\'):
			i++
			part.WriteByte(s[i])
		case s[i] == ',':
			parts = append(parts, part.String())
			part.Reset()
		default:
			part.WriteByte(s[i])
		}
	}
	return append(parts, part.String())
}

func fieldNames() string { return strings.Join(slices.Sorted(maps.Keys(letterFields)), ", ") }

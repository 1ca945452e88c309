package relay

import "strings"

// Route says which requests are taken and what becomes of them. Routes are
// data: handlers reads them, nothing else knows a client's peculiarities.
type Route struct {
	Name        string   // [a-z0-9]{1,16}; the last token of the subject
	Method      string   // of the request that is taken
	Paths       []string // echo patterns
	Destination string

	Schema       string   // name in package schemas; empty: any body
	ContentTypes []string // media types taken; empty: any
	MaxBody      int64    // bytes, after decoding
	DecodeGzip   bool     // store identity: Foreman reads nothing else

	Lane LaneRule
	Key  KeyRule

	Reply  Reply
	Policy Policy
}

// LaneRule finds the ordering key: the first of Pointers (JSON pointers) that
// holds a non-empty string.
type LaneRule struct {
	Pointers []string
}

// KeyRule derives an idempotency key from a body when the sender gives none:
// Type and the strings at Pointers. No pointers: no derived key.
type KeyRule struct {
	Type     string
	Pointers []string
	// Normalize makes one spelling of the value at Pointers[i]; nil keeps it.
	Normalize func(i int, value string) string
}

// Reply is what the client of a route needs to be told (contract, section 0).
type Reply struct {
	Status int
}

// Extract is the lane of a decoded body: lower-cased, because Foreman's host
// names are, and without outer spaces. Empty when there is none.
func (r LaneRule) Extract(doc any) string {
	for _, p := range r.Pointers {
		if s, ok := stringAt(doc, p); ok {
			if s = strings.ToLower(strings.TrimSpace(s)); s != "" {
				return s
			}
		}
	}
	return ""
}

// Derive is the key of a decoded body, and whether the route derives one from
// it. The lane is part of it as the route's pointers say.
func (r KeyRule) Derive(doc any) (string, bool) {
	if len(r.Pointers) == 0 {
		return "", false
	}
	parts := make([]string, 0, len(r.Pointers)+1)
	parts = append(parts, r.Type)
	for i, p := range r.Pointers {
		s, ok := stringAt(doc, p)
		if !ok {
			return "", false
		}
		if r.Normalize != nil {
			s = r.Normalize(i, s)
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, "\x1f"), true
}

// stringAt follows an RFC 6901 pointer through maps (no arrays: no route needs
// them) to a string.
func stringAt(doc any, pointer string) (string, bool) {
	for _, name := range strings.Split(pointer, "/")[1:] {
		m, ok := doc.(map[string]any)
		if !ok {
			return "", false
		}
		name = strings.ReplaceAll(strings.ReplaceAll(name, "~1", "/"), "~0", "~")
		doc = m[name]
	}
	s, ok := doc.(string)
	return s, ok
}

package schemas

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Shape says which members of a document are looked at: the others are checked
// to be JSON and left out.
type Shape struct {
	members map[string]*Shape
	names   bool // of an object without members of interest: keep its names
}

// With adds what a JSON pointer (RFC 6901) leads to.
func (s *Shape) With(pointer string) *Shape {
	at := s
	for _, name := range tokens(pointer) {
		at = at.member(name)
	}
	return s
}

// WithNames adds the names in the object that a pointer leads to; their values
// are nil in the sketch.
func (s *Shape) WithNames(pointer string) *Shape {
	at := s
	for _, name := range tokens(pointer) {
		at = at.member(name)
	}
	at.names = true
	return s
}

// tokens are the names on the way of a pointer.
func tokens(pointer string) []string {
	names := strings.Split(pointer, "/")[1:]
	for i := range names {
		names[i] = unescape(names[i])
	}
	return names
}

func (s *Shape) member(name string) *Shape {
	if s.members == nil {
		s.members = map[string]*Shape{}
	}
	if s.members[name] == nil {
		s.members[name] = &Shape{}
	}
	return s.members[name]
}

// ShapeOf is what the schema of this name looks at; nothing for an unknown one.
func ShapeOf(name string) *Shape {
	s := &Shape{}
	if schema, err := lookUp(name); err == nil {
		for pointer := range schema.demands {
			s.With(pointer)
		}
	}
	return s
}

// Sketch reads a document as encoding/json would read it into an any, and keeps
// of it what the shape names: objects and arrays of which nothing is looked at
// are empty in the sketch. It takes and refuses the same texts as encoding/json
// does, in a small part of the time: most of a report is read once and not kept.
// A *SyntaxError says where a text is no JSON.
func Sketch(body []byte, shape *Shape) (any, error) {
	r := &reader{text: body}
	r.space()
	v, ok := r.value(shape)
	if ok {
		r.space()
		if r.at == len(body) {
			return v, nil
		}
		r.fail("after the document")
	}
	return nil, &SyntaxError{Offset: min(r.at+1, len(body)), What: r.problem}
}

// SyntaxError says where a text stops being JSON.
type SyntaxError struct {
	Offset int // in bytes, the one at fault included
	What   string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("at byte %d: %s", e.Offset, e.What) }

// maxDepth is that of encoding/json.
const maxDepth = 10000

// reader goes over a text once.
type reader struct {
	text    []byte
	at      int
	depth   int
	problem string
}

func (r *reader) fail(where string) bool {
	if r.at >= len(r.text) {
		r.problem = "unexpected end of JSON"
	} else {
		r.problem = fmt.Sprintf("invalid character %q %s", r.text[r.at], where)
	}
	return false
}

func (r *reader) space() {
	for r.at < len(r.text) {
		switch r.text[r.at] {
		case ' ', '\t', '\n', '\r':
			r.at++
		default:
			return
		}
	}
}

// peek is the next byte; 0, which begins nothing, at the end.
func (r *reader) peek() byte {
	if r.at < len(r.text) {
		return r.text[r.at]
	}
	return 0
}

// value reads a value of which something is looked at.
func (r *reader) value(shape *Shape) (any, bool) {
	switch c := r.peek(); c {
	case '{':
		if len(shape.members) > 0 || shape.names {
			return r.object(shape)
		}
		return map[string]any{}, r.skip()
	case '[':
		return []any{}, r.skip()
	default:
		from := r.at
		if !r.skip() {
			return nil, false
		}
		return scalar(r.text[from:r.at])
	}
}

// scalar has been read before: what can still go wrong is a number that no
// float64 holds. It is nil in the sketch; Foreman's Ruby reads it.
func scalar(text []byte) (any, bool) {
	var v any
	_ = json.Unmarshal(text, &v) // see above
	return v, true
}

func (r *reader) object(shape *Shape) (any, bool) {
	if !r.enter() {
		return nil, false
	}
	m := map[string]any{}
	more := r.open('}')
	for more {
		from := r.at
		if r.peek() != '"' || !r.string() {
			return nil, r.problem == "" && r.fail("looking for the name of a member")
		}
		name := r.text[from:r.at]
		if !r.colon() {
			return nil, false
		}
		if !r.entry(m, name, shape) {
			return nil, false
		}
		var ok bool
		if more, ok = r.next('}'); !ok {
			return nil, false
		}
	}
	r.depth--
	return m, true
}

// entry reads the value of a member into m, where it is looked at. Of two with
// one name the last one counts, as in Ruby.
func (r *reader) entry(m map[string]any, quoted []byte, shape *Shape) bool {
	name := unquoted(quoted)
	if below := shape.members[string(name)]; below != nil {
		v, ok := r.value(below)
		m[string(name)] = v
		return ok
	}
	if shape.names {
		m[string(name)] = nil
	}
	return r.skip()
}

func unquoted(quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 && ascii(quoted) {
		return quoted[1 : len(quoted)-1]
	}
	var s string
	_ = json.Unmarshal(quoted, &s) // it has been read before
	return []byte(s)
}

// ascii: nothing that encoding/json would have to mend.
func ascii(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

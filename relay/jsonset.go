package relay

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// A value is set in the very bytes of a document: whatever else is in it, the
// order of members and the spelling of numbers, stays as the sender wrote it.

// maxPointerDepth bounds a pointer: each step reads what is left of the document.
const maxPointerDepth = 32

// in puts the value into a document.
func (s Replacement) in(doc []byte) ([]byte, error) {
	if !json.Valid(s.Value) {
		return nil, Refuse(CodeMalformed, "the value for %q is no JSON: a string needs its quotes", s.Pointer)
	}
	if s.Pointer == "" {
		return slices.Clone(s.Value), nil
	}
	if s.Pointer[0] != '/' {
		return nil, Refuse(CodeMalformed, "%q is no JSON pointer: it begins with / (RFC 6901)", s.Pointer)
	}
	steps := strings.Split(s.Pointer[1:], "/")
	if len(steps) > maxPointerDepth {
		return nil, Refuse(CodeMalformed, "the pointer has %d steps, more than %d", len(steps), maxPointerDepth)
	}
	span := jsonSpan{0, len(doc)}
	for i, step := range steps {
		name, err := unescapeStep(step)
		if err != nil {
			return nil, err
		}
		found, insert, err := child(doc, span, name)
		last := i == len(steps)-1
		switch {
		case err != nil, found == nil && !last:
			return nil, Refuse(CodeInvalid, "%q leads nowhere in the body: there is no %q", s.Pointer, "/"+strings.Join(steps[:i+1], "/"))
		case found != nil:
			span = *found
		default:
			return slices.Concat(doc[:insert.at], []byte(insert.before), s.Value, doc[insert.at:]), nil
		}
	}
	return slices.Concat(doc[:span.from], s.Value, doc[span.to:]), nil
}

// unescapeStep reads ~0 and ~1; no other ~ may be there.
func unescapeStep(step string) (string, error) {
	rest := strings.ReplaceAll(strings.ReplaceAll(step, "~0", ""), "~1", "")
	if strings.Contains(rest, "~") {
		return "", Refuse(CodeMalformed, "%q is no step of a JSON pointer: a ~ is written ~0, a / ~1", step)
	}
	return strings.ReplaceAll(strings.ReplaceAll(step, "~1", "/"), "~0", "~"), nil
}

// jsonSpan is where a value stands in a document.
type jsonSpan struct{ from, to int }

// insertion is where a member that is not there yet goes, and what comes before
// its value.
type insertion struct {
	at     int
	before string
}

// child finds a member or an element of the value at a span; or, where it may be
// added, its place. Of two members with one name the last one counts, as for
// those who read the document. The document is valid JSON.
func child(doc []byte, within jsonSpan, name string) (*jsonSpan, insertion, error) {
	part := doc[within.from:within.to]
	d := json.NewDecoder(bytes.NewReader(part))
	open, err := d.Token()
	if err != nil {
		return nil, insertion{}, err
	}
	isArray := open == json.Delim('[')
	if !isArray && open != json.Delim('{') {
		return nil, insertion{}, Refuse(CodeInvalid, "neither object nor array")
	}
	var found *jsonSpan
	n, end := 0, int(d.InputOffset())
	for ; d.More(); n++ {
		this := strconv.Itoa(n)
		if !isArray {
			token, err := d.Token()
			if err != nil {
				return nil, insertion{}, err
			}
			this, _ = token.(string) // a name is one
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, insertion{}, err
		}
		end = int(d.InputOffset())
		if this == name {
			found = &jsonSpan{within.from + end - len(raw), within.from + end}
		}
	}
	if found != nil {
		return found, insertion{}, nil
	}
	return nil, added(isArray, name, n, within.from+end), appendable(isArray, name)
}

// appendable: to an array only its end can be added.
func appendable(isArray bool, name string) error {
	if isArray && name != "-" {
		return Refuse(CodeInvalid, "no such element")
	}
	return nil
}

func added(isArray bool, name string, members, at int) insertion {
	i := insertion{at: at}
	if members > 0 {
		i.before = ","
	}
	if !isArray {
		quoted, _ := json.Marshal(name) // a string always is
		i.before += string(quoted) + ":"
	}
	return i
}

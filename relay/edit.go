package relay

import (
	"encoding/json"
	"maps"
	"net/textproto"
	"net/url"
	"strings"
)

// maxEdits bounds what one edit may change, of headers and of values each.
const maxEdits = 32

// Edit is what is changed in a letter when it is replayed.
type Edit struct {
	// Header sets the headers that travel; an empty value takes one away.
	Header map[string]string `json:"header,omitempty"`
	// Set puts values into a body of JSON.
	Set []Replacement `json:"set,omitempty"`
}

// Replacement puts a value at a JSON pointer (RFC 6901): it replaces what is
// there, else it is added to the object, or with "-" to the end of the array.
type Replacement struct {
	Pointer string          `json:"pointer"`
	Value   json.RawMessage `json:"value"`
}

// Empty: nothing is changed.
func (e Edit) Empty() bool { return len(e.Header) == 0 && len(e.Set) == 0 }

// Apply changes a message of this route as the edit says: its headers, its body
// with digest and ordering key. What is changed is another request, so that it
// has no idempotency key any more: the destination is told its id instead.
func (e Edit) Apply(m *Message, r Route) error {
	if e.Empty() {
		return nil
	}
	if len(e.Header) > maxEdits || len(e.Set) > maxEdits {
		return Refuse(CodeMalformed, "an edit changes at most %d headers and %d values", maxEdits, maxEdits)
	}
	m.Key = ""
	m.Header = maps.Clone(m.Header)
	for name, value := range e.Header {
		if err := setHeader(m, r, textproto.CanonicalMIMEHeaderKey(name), value); err != nil {
			return err
		}
	}
	return e.setBody(m, r)
}

// setHeader changes a header that the route lets travel.
func setHeader(m *Message, r Route, name, value string) error {
	if strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c > '~' }) {
		return Refuse(CodeMalformed, "header %s: the value must be printable ASCII", name)
	}
	switch {
	case name == "Content-Type":
		m.ContentType = value
	case name == "Accept":
		m.Accept = value
	case !r.Keeps(name):
		return Refuse(CodeInvalid, "header %s does not travel with messages of route %q; what can be set is %s", name, m.Route, travelling(r))
	case value == "":
		delete(m.Header, name)
	default:
		if m.Header == nil {
			m.Header = map[string]string{}
		}
		m.Header[name] = value
	}
	return nil
}

func travelling(r Route) string {
	return strings.Join(append([]string{"Content-Type", "Accept"}, r.Keep...), ", ")
}

func (e Edit) setBody(m *Message, r Route) error {
	if len(e.Set) == 0 {
		return nil
	}
	if m.Encryption != "" {
		return Refuse(CodeInvalid, "the body is sealed: no value can be set in it here")
	}
	if m.ContentEncoding != "" {
		return Refuse(CodeInvalid, "the body is encoded (%s): no value can be set in it", m.ContentEncoding)
	}
	if !json.Valid(m.Body) {
		return Refuse(CodeInvalid, "the body is no JSON: no value can be set in it")
	}
	body := m.Body
	for _, s := range e.Set {
		var err error
		if body, err = s.in(body); err != nil {
			return err
		}
	}
	if r.MaxBody > 0 && int64(len(body)) > r.MaxBody {
		return Refuse(CodeTooLarge, "the body would have %d bytes, route %q takes %d", len(body), m.Route, r.MaxBody)
	}
	m.Body, m.Digest = body, DigestOf(body)
	m.Lane = r.laneOf(m)
	return nil
}

// laneOf is the ordering key of a message whose body was changed; the one it had
// where the route finds none in it.
func (r Route) laneOf(m *Message) string {
	if len(r.Lane.From) == 0 {
		return m.Lane
	}
	q := Request{Body: m.Body, Digest: m.Digest}
	if json.Unmarshal(m.Body, &q.Doc) != nil {
		return m.Lane
	}
	if target, err := url.ParseRequestURI(m.Path); err == nil {
		q.Query = target.Query()
		q.Params, _ = r.Match(target.EscapedPath())
	}
	if lane := r.Lane.Extract(q); lane != "" {
		return lane
	}
	return m.Lane
}

package relay

import (
	"net/url"
	"strings"
)

// Request is what the rules of a route may look at.
type Request struct {
	Body    []byte
	Doc     any               // Body decoded, where the route has a schema
	Params  map[string]string // in the path at the destination
	Query   url.Values
	Address string // of the sender, without port
	Digest  string // SHA-256 of Body, hexadecimal
}

// Source finds one value in a request; false: there is none.
type Source func(Request) (string, bool)

// Pointer is the string at an RFC 6901 pointer into the decoded body.
func Pointer(pointer string) Source {
	return func(q Request) (string, bool) { return stringAt(q.Doc, pointer) }
}

// Param is a parameter of the path.
func Param(name string) Source {
	return func(q Request) (string, bool) {
		s, ok := q.Params[name]
		return s, ok
	}
}

// SecretQuery is a parameter of the query that is nobody's business: its hash,
// so that lanes and keys, which operators see, do not tell it.
func SecretQuery(name string) Source {
	return func(q Request) (string, bool) {
		s := q.Query.Get(name)
		if s == "" {
			return "", false
		}
		return name + "-" + DigestOf([]byte(s))[:secretLen], true
	}
}

// secretLen is 80 bits: nobody finds two that agree.
const secretLen = 20

// Address is where the request came from.
func Address(q Request) (string, bool) { return q.Address, q.Address != "" }

// BodyDigest tells one body from another.
func BodyDigest(q Request) (string, bool) { return q.Digest, true }

// Through changes what a source finds, for example to one of its spellings.
func Through(change func(string) string, from Source) Source {
	return func(q Request) (string, bool) {
		s, ok := from(q)
		if !ok {
			return "", false
		}
		return change(s), true
	}
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

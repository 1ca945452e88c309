package relay

import (
	"maps"
	"net/url"
	"slices"
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

// Source finds one value in a request, and says what it looks at in the body: a
// body is decoded no further than that.
type Source struct {
	Pointer string // RFC 6901, into the decoded body; empty: the source looks at none
	Names   bool   // at the names of the members there, not at what they hold
	Find    func(Request) (string, bool)
	// Each finds all there are, where there may be more than one, or something
	// that is no value of the kind; nil: Find finds the one.
	Each func(Request) []string
}

// all are the values that a source finds.
func (s Source) all(q Request) []string {
	if s.Each != nil {
		return s.Each(q)
	}
	if v, ok := s.Find(q); ok {
		return []string{v}
	}
	return nil
}

// Pointer is the string at an RFC 6901 pointer into the decoded body.
func Pointer(pointer string) Source {
	return Source{Pointer: pointer, Find: func(q Request) (string, bool) { return stringAt(q.Doc, pointer) }}
}

// HostAt is the host that a body names at a pointer. What stands there and is no
// string is a host without a name: Foreman may find one by it all the same.
func HostAt(pointer string) Source {
	s := Pointer(pointer)
	s.Each = func(q Request) []string {
		v := at(q.Doc, pointer)
		if v == nil {
			return nil
		}
		host, _ := v.(string)
		return []string{host}
	}
	return s
}

// NamesAt are the names of the members of the object at a pointer.
func NamesAt(pointer string) Source {
	s := SoleName(pointer)
	s.Each = func(q Request) []string {
		members, _ := at(q.Doc, pointer).(map[string]any)
		return slices.Sorted(maps.Keys(members))
	}
	return s
}

// SoleName is the name of the only member of the object at a pointer.
func SoleName(pointer string) Source {
	return Source{Pointer: pointer, Names: true, Find: func(q Request) (string, bool) {
		members, _ := at(q.Doc, pointer).(map[string]any)
		if len(members) != 1 {
			return "", false
		}
		for name := range members {
			return name, true
		}
		return "", false
	}}
}

// Param is a parameter of the path.
func Param(name string) Source {
	return Source{Find: func(q Request) (string, bool) {
		s, ok := q.Params[name]
		return s, ok
	}}
}

// SecretQuery is a parameter of the query that is nobody's business: its hash,
// so that lanes and keys, which operators see, do not tell it.
func SecretQuery(name string) Source {
	return Source{Find: func(q Request) (string, bool) {
		s := q.Query.Get(name)
		if s == "" {
			return "", false
		}
		return name + "-" + DigestOf([]byte(s))[:secretLen], true
	}}
}

// secretLen is 80 bits: nobody finds two that agree.
const secretLen = 20

// Address is where the request came from.
func Address() Source {
	return Source{Find: func(q Request) (string, bool) { return q.Address, q.Address != "" }}
}

// BodyDigest tells one body from another.
func BodyDigest() Source {
	return Source{Find: func(q Request) (string, bool) { return q.Digest, true }}
}

// Through changes what a source finds, for example to one of its spellings.
func Through(change func(string) string, from Source) Source {
	through := from
	through.Find = func(q Request) (string, bool) {
		s, ok := from.Find(q)
		if !ok {
			return "", false
		}
		return change(s), true
	}
	return through
}

// stringAt is the string at an RFC 6901 pointer.
func stringAt(doc any, pointer string) (string, bool) {
	s, ok := at(doc, pointer).(string)
	return s, ok
}

// at follows a pointer through maps (no arrays: no route needs them); nil where
// it leads nowhere.
func at(doc any, pointer string) any {
	for _, name := range strings.Split(pointer, "/")[1:] {
		m, ok := doc.(map[string]any)
		if !ok {
			return nil
		}
		doc = m[strings.ReplaceAll(strings.ReplaceAll(name, "~1", "/"), "~0", "~")]
	}
	return doc
}

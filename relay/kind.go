package relay

import "net/url"

// MaxKind bounds Message.Kind, in bytes: the edge keeps one for every place.
const MaxKind = 64

// KindOf is the kind of a request; one that is too long goes by its hash.
func (r Route) KindOf(q Request) string {
	for _, from := range r.Kind {
		if s, ok := from.Find(q); ok && s != "" {
			if len(s) > MaxKind {
				return DigestOf([]byte(s))
			}
			return s
		}
	}
	return ""
}

// Replaces says whether a message of a latest route replaces older ones: not one
// without a lane, not one that will not be delivered, and not a replay, which
// brings old news, and not one that was scheduled: it must not replace what is due
// before it.
func (m *Message) Replaces() bool {
	return m.Lane != "" && m.ReplayedFrom == "" && !m.SettledBefore && m.NotBefore.IsZero()
}

// Describe adds what the envelope says that counts before its message is read.
func (e *Entry) Describe(envelope map[string][]string) {
	e.Keyed = first(envelope, hdrKey) != ""
	if kind := first(envelope, hdrKind); kind != "" {
		if plain, err := url.PathUnescape(kind); err == nil {
			e.Kind = plain
		}
	}
}

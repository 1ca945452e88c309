package relay

import (
	"fmt"
	"slices"
	"strings"
)

// Hosts says for which hosts a sender may speak: HostsOwn, HostsAny, or a pattern
// of names; several with commas between them.
type Hosts string

// The two that are no pattern.
const (
	HostsOwn Hosts = "own" // the names of its certificate
	HostsAny Hosts = "any" // a Puppet server, a smart proxy
)

// Any says whether every host is meant, and what names none as well.
func (h Hosts) Any() bool { return slices.Contains(h.parts(), string(HostsAny)) }

func (h Hosts) parts() []string {
	parts := strings.Split(string(h), ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

// Check says what is wrong with it; nothing is one's own.
func (h Hosts) Check() error {
	for _, part := range h.parts() {
		if part == "" && h != "" || strings.ContainsAny(part, " /:") {
			return fmt.Errorf("%q is neither own nor any nor a pattern of host names, such as *.example.com", part)
		}
	}
	return nil
}

// SpeaksForHost says whether the sender may speak for a host. A name that no host
// can have is a host of nobody's: only who speaks for any may send it.
func (s Sender) SpeaksForHost(host string) bool {
	if s.SpeaksFor.Any() {
		return true
	}
	name, ok := HostName(host)
	if !ok {
		return false
	}
	return slices.ContainsFunc(s.SpeaksFor.parts(), func(part string) bool {
		if part == string(HostsOwn) || part == "" {
			return slices.Contains(s.Names, name)
		}
		return like(strings.ToLower(part), name)
	})
}

// maxHostName is that of DNS, in bytes.
const maxHostName = 253

// HostName is a host's name as names are compared: lower-cased, without the dot
// at its end. False for what is no name. Letters beyond ASCII are in none, so
// that nothing depends on how Go and Ruby lower-case them.
func HostName(s string) (string, bool) {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > maxHostName {
		return "", false
	}
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`/\"'*,;?#`, c) >= 0 {
			return "", false
		}
	}
	return strings.ToLower(s), true
}

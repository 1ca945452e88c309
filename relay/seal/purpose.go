package seal

import "github.com/theforeman/foreman-relay/relay"

// purpose is what something is sealed for. It is sealed with it, before the rest:
// an edge that somebody has taken over could else have a drain deliver the sealed
// credentials of a message as the body of another, to where they can be read.
type purpose string

const (
	forCredentials purpose = "credentials"
	forBody        purpose = "body"
)

// preamble is how the clear form begins.
func (p purpose) preamble(q relay.Queue) []byte {
	return []byte("foreman-relay/1 " + string(p) + " " + q.String() + "\n")
}

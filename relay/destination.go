package relay

import "context"

// Destination is where a queue is delivered to.
type Destination interface {
	// Deliver makes one attempt and classifies what came of it. It does not
	// retry, and returns within the destination's attempt timeout.
	Deliver(ctx context.Context, m *Message) Result
	// Probe asks whether anybody is there, without a message; nil: yes.
	Probe(ctx context.Context) error
}

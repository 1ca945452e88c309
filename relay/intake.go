package relay

import "context"

// Intake stores messages for the edge.
//
// Accept returns a receipt only when the message has the durability that the
// receipt names. It returns an *Error: after CodeUnavailable the outcome is
// unknown, after any other code nothing was stored. A message whose key is
// known gets the first receipt again, marked Replayed and with the message's
// present state, if body, lane and route are the same, else CodeKeyConflict.
type Intake interface {
	Accept(ctx context.Context, m *Message) (Receipt, error)
	// Again is the first receipt of a message whose key is known, as Accept would
	// give it; CodeNotFound when it is not. It stores nothing.
	Again(ctx context.Context, m *Message) (Receipt, error)
	// Message tells where a message stands, by its public id; CodeNotFound.
	Message(ctx context.Context, id string) (MessageStatus, error)
	// Ready is nil when messages can be accepted; else it says why not.
	Ready(ctx context.Context) error
}

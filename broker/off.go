package broker

// OffQueues is what becomes of what is queued for an organization that is off. The
// door refuses what is new in either case.
type OffQueues string

// The ways.
const (
	OffDrain OffQueues = "drain" // it is delivered
	OffHold  OffQueues = "hold"  // it waits
)

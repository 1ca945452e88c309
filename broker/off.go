package broker

import (
	"github.com/theforeman/foreman-relay/relay"
)

// OffQueues is what becomes of what is queued for an organization that is off. The
// door refuses what is new in either case.
type OffQueues string

// The ways.
const (
	OffDrain OffQueues = "drain" // it is delivered
	OffHold  OffQueues = "hold"  // it waits
)

// OffChoices lists them.
func OffChoices() []OffQueues { return []OffQueues{OffDrain, OffHold} }

// withheld is why a queue waits whose organization is off; nil: it does not wait
// for that.
func (b *Broker) withheld(q relay.Queue) *relay.Pause {
	o, known := b.KnownOrganization(q.Organization)
	if !known || o.Enabled || b.options.OffQueues != OffHold {
		return nil
	}
	reason := "the organization is off"
	if o.Why != "" {
		reason += ": " + o.Why
	}
	return &relay.Pause{At: o.Changed, By: o.ChangedBy, Reason: relay.Excerpt([]byte(reason))}
}

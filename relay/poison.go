package relay

import "time"

// Poison is what becomes of a message that the destination will not have: it
// was rejected, or failed as often as its policy allows.
//
// A message that grew too old is none: nobody has refused it. It is kept as a
// dead letter whatever the policy says. Discarded, an outage would lose it
// silently; paused for, it would be too old again after every resume. The same
// goes for one whose body the disk has damaged, or nobody here can decrypt.
type Poison string

// The choices, as the configuration names them.
const (
	// PoisonMove keeps it as a dead letter, and the lane goes on.
	PoisonMove Poison = "move"
	// PoisonPause pauses the queue. The message stays at the head of its lane
	// and is tried anew once somebody resumes the queue.
	PoisonPause Poison = "pause"
	// PoisonDiscard settles it as discarded, without a letter, and the lane goes on.
	PoisonDiscard Poison = "discard"
)

// Poisons lists the choices.
func Poisons() []Poison { return []Poison{PoisonMove, PoisonPause, PoisonDiscard} }

// pauseWait is how long a message whose queue is to be paused is not tried: the
// pause is the edge's to make, and comes within moments.
const pauseWait = LeaseTTL

// poisoned is the end of a message for a reason, as the policy has it.
func (p Policy) poisoned(reason string, now time.Time) Outcome {
	switch p.OnPoison {
	case PoisonPause: // from the beginning: whoever resumes the queue has changed something
		return Outcome{State: Waiting, Reason: reason, Next: now.Add(pauseWait), Counted: true, Pause: true}
	case PoisonDiscard:
		return Outcome{State: Discarded, Reason: ReasonDiscardedByPolicy, Cause: reason, Counted: true}
	case PoisonMove:
	}
	return Outcome{State: Dead, Reason: reason, Counted: true}
}

package relay

import "time"

// Pause is why a queue is not delivered from: it is kept until somebody
// resumes the queue, whatever ends and starts again meanwhile.
type Pause struct {
	At     time.Time `json:"at"`
	By     string    `json:"by,omitempty"` // as the operator's command said
	Reason string    `json:"reason,omitempty"`
}

// ByPolicy is who pauses a queue for a message (PoisonPause).
const ByPolicy = "on_poison"

// PauseFor is the pause that an event asks for.
func PauseFor(e Event) Pause {
	status := EventStatus{Status: e.Status, Detail: e.Detail[:min(len(e.Detail), MaxPauseText/2)]}
	reason := "message " + e.ID + " will not be had: " + reasonText(e.Reason) + answered(status)
	return Pause{At: e.Recorded.UTC(), By: ByPolicy, Reason: Excerpt([]byte(reason))}
}

// MaxPauseText bounds by and reason of a pause, in bytes.
const MaxPauseText = 1000

// NewPause checks what an operator gives.
func NewPause(at time.Time, by, reason string) (Pause, error) {
	for name, text := range map[string]string{"by": by, "reason": reason} {
		if len(text) > MaxPauseText {
			return Pause{}, Refuse(CodeMalformed, "%s is %d bytes long, more than %d", name, len(text), MaxPauseText)
		}
	}
	return Pause{At: at.UTC(), By: Excerpt([]byte(by)), Reason: Excerpt([]byte(reason))}, nil
}

package relay

import "time"

// Outcome is the verdict on a message after an attempt.
type Outcome struct {
	State   State // Delivered, Dead, Waiting (retry at Next) or Queued (outage: at once when the circuit closes)
	Reason  string
	Next    time.Time // for Waiting
	Counted bool      // whether the destination answered: the attempt has a number then
	Link    string    // id of the message that replaces this one, for Superseded

	Failures, Slow int    // for Waiting: what the next Attempt is to say
	Pause          bool   // for Waiting: the queue is to be paused (PoisonPause)
	Cause          string // for Discarded by policy: the reason it would have died of
}

// The reasons: a closed set, so that letters and attempts can be counted by
// cause. Each one is in the table of reason.go.
const (
	// Why a message is dead: what a letter can say.
	ReasonExpired       = "expired" // the age after which its route needs it no more
	ReasonMaxAttempts   = "max_attempts"
	ReasonMaxAge        = "max_age"
	ReasonRejected      = "rejected"
	ReasonSchemaInvalid = "schema_invalid"
	ReasonUnauthorized  = "unauthorized"
	ReasonTooLarge      = "too_large"
	ReasonUndecryptable = "undecryptable"
	ReasonRouteGone     = "route_gone"
	ReasonUnknown       = "unknown_version"
	ReasonUnclassified  = "unclassified"

	// Why a message is settled otherwise.
	ReasonAlreadyThere = "already_there"
	ReasonMissing      = "missing"
	ReasonReplayed     = "replayed"
	ReasonOperator     = "operator"
	ReasonSettledKey   = "settled_key"
	// ReasonDiscardedByPolicy: on_poison says so.
	ReasonDiscardedByPolicy = "discarded_by_policy"
	ReasonNewer             = "newer" // a newer message of its route replaces it
	// ReasonDeliveredBefore: the drain's own record had it, the events did not.
	ReasonDeliveredBefore = "delivered_before"
	// ReasonAmbiguous: it was sent, nobody knows what came of it, and its route
	// is not tried again then.
	ReasonAmbiguous = "ambiguous"
	ReasonDamaged   = "damaged" // its body, stored in pieces, is not what was accepted

	// Why a message waits.
	ReasonServerError = "server_error"
	ReasonUnavailable = "unavailable"
	ReasonNotForeman  = "not_foreman"
	ReasonTimeout     = "timeout"
	ReasonNotReady    = "not_ready"
	ReasonThrottled   = "throttled"
)

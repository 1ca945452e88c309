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

// The reasons: a closed set, so that dead letters can be counted by cause.
const (
	ReasonAlreadyThere = "already_there"
	ReasonMaxAttempts  = "max_attempts"
	ReasonMaxAge       = "max_age"
	ReasonExpired      = "expired" // the age after which its route needs it no more
	ReasonRejected     = "rejected"
	ReasonUnauthorized = "unauthorized"
	ReasonTooLarge     = "too_large"
	ReasonRouteGone    = "route_gone"
	ReasonUnknown      = "unknown_version"
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

	// Why a message waits.
	ReasonServerError = "server_error"
	ReasonUnavailable = "unavailable"
	ReasonNotForeman  = "not_foreman"
	ReasonTimeout     = "timeout"
	ReasonNotReady    = "not_ready"
	ReasonThrottled   = "throttled"
)

package relay

import "time"

// Outcome is the verdict on a message after an attempt.
type Outcome struct {
	State   State // Delivered, Dead, Waiting (retry at Next) or Queued (outage: at once when the circuit closes)
	Reason  string
	Next    time.Time // for Waiting
	Counted bool      // whether the attempt counts against the policy
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
	ReasonDamaged      = "damaged" // its body, stored in pieces, is not what was accepted

	// Why a message waits.
	ReasonServerError = "server_error"
	ReasonUnavailable = "unavailable"
	ReasonNotForeman  = "not_foreman"
	ReasonTimeout     = "timeout"
	ReasonNotReady    = "not_ready"
	ReasonThrottled   = "throttled"
)

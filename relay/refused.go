package relay

// Why a caller is refused, in one word: what a problem's reason says, and the
// label of a metric. What has its own number must not be told apart by the
// caller: RefusedForeign is an answer like any that finds nothing.
const (
	RefusedNoCertificate = "no_certificate"
	RefusedUnknownCA     = "unknown_ca"           // no trusted CA vouches for it
	RefusedExpired       = "expired"              // or not valid yet, or a CA above it
	RefusedRevoked       = "revoked"              // by a CRL, it or a CA above it
	RefusedUnusable      = "unusable"             // not for clients, or not for this name
	RefusedNoRule        = "no_rule"              // no organization is found for it
	RefusedUnknown       = "organization_unknown" // a rule names one that the relay does not have
	RefusedOff           = "organization_off"
	RefusedForeign       = "other_organization" // a queue or a message of another
	RefusedHost          = "not_its_host"       // it may not speak for the host
	RefusedForeignHost   = "host_of_another_organization"
)

// RefusalsOfCallers are all there are.
func RefusalsOfCallers() []string {
	return []string{RefusedNoCertificate, RefusedUnknownCA, RefusedExpired, RefusedRevoked, RefusedUnusable, RefusedNoRule,
		RefusedUnknown, RefusedOff, RefusedForeign, RefusedHost, RefusedForeignHost}
}

// Because gives a refusal its word.
func (e *Error) Because(reason string) *Error {
	e.Reason = reason
	return e
}

package relay

// Reason is one code of the closed set and what it means.
type Reason struct {
	Code    string
	Meaning string
	// Letter: a dead letter can carry it.
	Letter bool
	// Reserved: its name is taken and nothing gives it yet.
	Reserved bool
}

// reasons are all there are; docs/dead-letters.md tells them too.
var reasons = [...]Reason{
	{Code: ReasonExpired, Letter: true, Meaning: "it reached the age after which nobody needs it"},
	{Code: ReasonMaxAttempts, Letter: true, Meaning: "its last attempt failed, and it had no more"},
	{Code: ReasonMaxAge, Letter: true, Meaning: "it reached its maximum age before anybody took it"},
	{Code: ReasonRejected, Letter: true, Meaning: "the destination refuses it, and would for ever"},
	{Code: ReasonSchemaInvalid, Letter: true, Reserved: true, Meaning: "its body does not fit its schema; today the edge refuses that before it is stored"},
	{Code: ReasonUnauthorized, Letter: true, Meaning: "the destination did not let the relay in until the message was too old"},
	{Code: ReasonTooLarge, Letter: true, Meaning: "the destination says that it is too large (413)"},
	{Code: ReasonUndecryptable, Letter: true, Meaning: "what is sealed of it cannot be opened: it was changed, or its key is not there"},
	{Code: ReasonRouteGone, Letter: true, Meaning: "the drain does not know its route, and does not guess"},
	{Code: ReasonUnknown, Letter: true, Meaning: "its envelope is of a version that the drain does not read"},
	{Code: ReasonAmbiguous, Letter: true, Meaning: "it was sent, nobody knows what came of it, and its route is not tried again then"},
	{Code: ReasonDamaged, Letter: true, Meaning: "its body, stored in pieces, is not what was accepted"},
	{Code: ReasonUnclassified, Letter: true, Meaning: "a reason that is none of these was given: a mistake of the relay; the detail begins with it"},

	{Code: ReasonAlreadyThere, Meaning: "the destination had it already"},
	{Code: ReasonDeliveredBefore, Meaning: "the drain's own record says that it was delivered"},
	{Code: ReasonMissing, Meaning: "it is gone from the journal"},
	{Code: ReasonNewer, Meaning: "a newer message of its route replaces it"},
	{Code: ReasonReplayed, Meaning: "its letter was replayed"},
	{Code: ReasonOperator, Meaning: "an operator gave it up"},
	{Code: ReasonDiscardedByPolicy, Meaning: "its route says to give such a message up"},
	{Code: ReasonSettledKey, Meaning: "its key was settled before"},

	{Code: ReasonServerError, Meaning: "the destination failed"},
	{Code: ReasonUnavailable, Meaning: "nobody was there, or only a gateway"},
	{Code: ReasonNotForeman, Meaning: "something else answered in Foreman's place"},
	{Code: ReasonTimeout, Meaning: "no answer in time"},
	{Code: ReasonNotReady, Meaning: "the destination says later"},
	{Code: ReasonThrottled, Meaning: "the destination says slower"},

	{Code: ReasonStopped, Meaning: "the run of the edge before this one ended in order"},
	{Code: ReasonCutOff, Meaning: "the run of the edge before this one was cut off"},
}

// Reasons lists the closed set, those of dead letters first.
func Reasons() []Reason { return append([]Reason(nil), reasons[:]...) }

// fitting says whether an event with this state may have this reason; of what is
// not dead, it may have none.
func fitting(s State, code string) bool {
	if code == "" {
		return s != Dead
	}
	for i := range reasons {
		if reasons[i].Code == code {
			return s != Dead || reasons[i].Letter
		}
	}
	return false
}

// classify holds the reason against the closed set.
func (e *Event) classify() {
	if fitting(e.State, e.Reason) {
		return
	}
	if e.Reason != "" {
		e.Detail = Excerpt([]byte(e.Reason + ": " + e.Detail))
	}
	e.Reason = ReasonUnclassified
}

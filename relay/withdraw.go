package relay

import "time"

// WithdrawBatch is how many messages one call of Operator.Purge takes back at
// most: the queue's delivery rests meanwhile. Nor does it read more than
// MaxMessagesScanned envelopes.
const WithdrawBatch = 10_000

// PurgeFilter chooses pending messages; zero values do not limit.
type PurgeFilter struct {
	Route  string
	Host   string    // ordering key
	Before time.Time // accepted before
	From   uint64    // sequences from here on: where an earlier call has ended
	DryRun bool      // count alone
}

// Purged is what one call of Operator.Purge did.
type Purged struct {
	Discarded uint64 `json:"discarded"` // of a dry run: would be
	Underway  uint64 `json:"underway"`  // left alone: an attempt was being made
	// Next is the From of the next call; 0: nothing is left.
	Next uint64 `json:"next,omitempty"`
}

package relay

import "strings"

// DeliveryKey is what the destination is told in Idempotency-Key, the same at
// every attempt: the sender's key as it was given, else the message's id. A
// derived key stays within the relay, since the id says the same, fits a header,
// and is of one organization alone.
//
// A replayed letter has its own id for a key: a destination that keeps the first
// answer to a key, as many do, would give the answer again that made it a letter.
func (m *Message) DeliveryKey() string {
	if m.Key == "" || m.ReplayedFrom != "" || strings.ContainsFunc(m.Key, unprintable) {
		return m.ID
	}
	return m.Key
}

// unprintable: no key of a sender holds it, and every derived one does.
func unprintable(r rune) bool { return r < ' ' || r > '~' }

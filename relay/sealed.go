package relay

import (
	"context"
	"errors"
	"strings"
)

// MaxSealed is how long sealed credentials may be in an envelope, in bytes: those
// of MaxCredentials, sealed to MaxRecipients keys, in base64.
const MaxSealed = 24 << 10

// How many recipients an edge seals to for one destination, and how long one may
// be, in bytes.
const (
	MaxRecipients   = 8
	maxRecipientLen = 128
)

// ErrUndecryptable: what is sealed cannot be opened here, since it was changed or
// because its key is not there. Trying again does not help.
var ErrUndecryptable = errors.New("it cannot be decrypted")

// EncryptionAge is the one form that sealed bodies have: a file as age writes it.
const EncryptionAge = "age"

// Sealer seals, on the edge, what only whoever delivers may read: before anything
// of it is stored. Where no key of the destination is known it refuses with
// CodeUnavailable, and nothing was sealed. Package seal implements it.
type Sealer interface {
	// Covers says whether bodies of this organization are sealed.
	Covers(ctx context.Context, organization string) (bool, error)
	// SealCredentials puts them into the message; it forgets the key it was given.
	SealCredentials(ctx context.Context, m *Message, c Credentials) error
	// SealBody replaces the body, whole or to come, by its sealed form.
	SealBody(ctx context.Context, m *Message) error
	// Blind stands for a text, always the same for the same one on all edges of
	// one broker, and tells nothing of it to who has not the broker's store.
	Blind(ctx context.Context, text string) (string, error)
}

// Printed is a body whose print is known once it was read to its end: see
// Message.Print.
type Printed interface{ Print() string }

// IsSealed says whether something of the message has to be opened before it is
// delivered.
func (m *Message) IsSealed() bool { return m.Encryption != "" || m.Sealed != "" }

// Attach gives the message the credentials that Foreman's document has for its
// queue; none, if that is empty.
func (m *Message) Attach(sealed string) { m.Sealed, m.Standing = sealed, sealed != "" }

// CheckRecipients refuses what a drain may not say of its keys; whether they are
// keys, the sealer finds out.
func CheckRecipients(recipients []string) error {
	if len(recipients) > MaxRecipients {
		return Refuse(CodeInvalid, "%d recipients, more than %d", len(recipients), MaxRecipients)
	}
	for _, r := range recipients {
		if !strings.HasPrefix(r, "age1") || len(r) > maxRecipientLen || strings.ContainsFunc(r, func(c rune) bool { return c <= ' ' || c > '~' }) {
			return Refuse(CodeInvalid, "a recipient is not one of age (age1…)")
		}
	}
	return nil
}

package seal

import (
	"bytes"
	"errors"

	"filippo.io/age"
)

// CheckFile refuses a file of age that no drain could open: one without an X25519
// recipient, or with more of a header than is read. To whose key it is sealed
// cannot be seen: X25519 stanzas of age do not name it.
func CheckFile(file []byte) error {
	header, err := age.ExtractHeader(bytes.NewReader(file))
	switch {
	case err != nil:
		return errors.New("this is no whole file of age")
	case len(header) > maxHeader:
		return errors.New("it is sealed to too many keys")
	case !bytes.Contains(header, []byte("\n-> X25519 ")):
		return errors.New("it is not sealed to a key as drains have them (age1…), but to a password or a key of another kind")
	}
	return nil
}

package seal

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
)

// Key is one key of a drain.
type Key struct {
	ID        string    `json:"id"` // follows from the recipient
	Created   time.Time `json:"created"`
	Recipient string    `json:"recipient"` // the public half
	Current   bool      `json:"current"`   // what comes from now on is sealed to it
	File      string    `json:"file"`

	identity *age.X25519Identity
}

// String leaves the secret half out.
func (k Key) String() string { return k.ID }

// GoString leaves the secret half out.
func (k Key) GoString() string { return k.ID }

// idLen is 48 bits: keys of one destination need only differ from each other.
const idLen = 12

// IDOf is the short name of a recipient.
func IDOf(recipient string) string {
	sum := sha256.Sum256([]byte(recipient))
	return hex.EncodeToString(sum[:])[:idLen]
}

// A key's file is named by when it was made, so that they sort, and by its id.
const (
	keySuffix  = ".key"
	keyTime    = "20060102T150405.000000000Z"
	maxKeyFile = 4 << 10 // bytes
)

func newKey(at time.Time) (Key, error) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return Key{}, err
	}
	recipient := identity.Recipient().String()
	return Key{ID: IDOf(recipient), Created: at.UTC(), Recipient: recipient, identity: identity}, nil
}

func (k Key) name() string { return k.Created.Format(keyTime) + "-" + k.ID + keySuffix }

// text is the key as the age command reads it too.
func (k Key) text() []byte {
	return fmt.Appendf(nil, "# created: %s\n# public key: %s\n%s\n", k.Created.Format(time.RFC3339Nano), k.Recipient, k.identity)
}

// readKey reads the one key of a file. An error repeats nothing of it.
func readKey(path string) (Key, error) {
	stamp, _, _ := strings.Cut(filepath.Base(path), "-")
	created, err := time.Parse(keyTime, stamp)
	if err != nil {
		return Key{}, fmt.Errorf("key %s: its name must begin with when it was made, as %s: leave the names as `keys rotate` makes them", path, keyTime)
	}
	text, err := readPrivate(path)
	if err != nil {
		return Key{}, err
	}
	found, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil || len(found) != 1 {
		return Key{}, fmt.Errorf("key %s does not hold one identity of age (AGE-SECRET-KEY-1…): put the file back from its backup", path)
	}
	identity, ok := found[0].(*age.X25519Identity)
	if !ok {
		return Key{}, fmt.Errorf("key %s is not an X25519 key, which is what is used here", path)
	}
	recipient := identity.Recipient().String()
	return Key{ID: IDOf(recipient), Created: created, Recipient: recipient, File: path, identity: identity}, nil
}

// readPrivate reads a small file that nobody but its owner can read.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("key %s can be read by others on this machine: chmod 600 %s, and think about a new one (`keys rotate`)", path, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err == nil && len(text) > maxKeyFile {
		err = errors.New("it is larger than a key")
	}
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", path, err)
	}
	return text, nil
}

// WritePrivate writes a file that must not be there yet, for its owner alone, and
// waits until it is on the disk.
func WritePrivate(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// CheckRecipient refuses what is no public key of the kind used here.
func CheckRecipient(recipient string) error {
	if _, err := age.ParseX25519Recipient(recipient); err != nil {
		return fmt.Errorf("%q is no X25519 recipient of age (age1…)", recipient)
	}
	return nil
}

package seal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"filippo.io/age"
	"github.com/rs/zerolog"

	"github.com/theforeman/foreman-relay/relay"
)

// Keyring is the directory of a drain's keys. The newest one is current; the
// others still open what was sealed to them.
type Keyring struct {
	dir string
	log zerolog.Logger

	mu    sync.Mutex
	names []string // of the files that keys are of
	keys  []Key    // the oldest first; never empty
	said  string   // what was logged last of a directory that cannot be read
}

// Dir is where the keys of a state directory are.
func Dir(stateDir string) string { return filepath.Join(stateDir, "keys") }

// OpenKeyring opens the keys below dir and makes the first one where there is
// none. It is on the disk before anything is sealed to it.
func OpenKeyring(dir string, now relay.Clock, log zerolog.Logger) (*Keyring, error) {
	r := &Keyring{dir: dir, log: log}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	if err := r.read(); err != nil {
		return nil, err
	}
	if len(r.keys) > 0 {
		return r, nil
	}
	_, err := r.Rotate(now())
	return r, err
}

// List reads the keys below dir, the oldest first, and makes none.
func List(dir string) ([]Key, error) {
	r := &Keyring{dir: dir}
	err := r.read()
	return r.keys, err
}

// Rotate makes a new key, which is current from now on. What was sealed before
// stays readable as long as its key is there.
func (r *Keyring) Rotate(now time.Time) (Key, error) {
	if err := r.read(); err != nil {
		return Key{}, err
	}
	if last, ok := r.Current(); ok && !now.After(last.Created) { // clocks may be set
		now = last.Created.Add(1)
	}
	k, err := newKey(now)
	if err != nil {
		return k, fmt.Errorf("make a key: %w", err)
	}
	// Under another name first: a running drain must not meet half of it.
	path := filepath.Join(r.dir, k.name())
	temporary := path + ".new"
	if err := WritePrivate(temporary, k.text()); err != nil {
		return k, fmt.Errorf("keep a new key: %w", err)
	}
	if err := likeOwner(temporary, r.dir); err != nil {
		return k, errors.Join(fmt.Errorf("keep a new key: %w", err), os.Remove(temporary))
	}
	if err := os.Rename(temporary, path); err != nil {
		return k, fmt.Errorf("keep a new key: %w", err)
	}
	if err := syncDir(r.dir); err != nil {
		return k, fmt.Errorf("keep a new key: %w", err)
	}
	if err := r.read(); err != nil {
		return k, err
	}
	k, _ = r.Current()
	return k, nil
}

// likeOwner gives a file that root has made to the owner of the directory: a drain
// that cannot read one key does not start.
func likeOwner(file, dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return os.Chown(file, int(owner.Uid), int(owner.Gid))
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// read takes what is in the directory, if its names have changed.
func (r *Keyring) read() error {
	found, err := os.ReadDir(r.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	if err := ownersAlone(r.dir); err != nil {
		return err
	}
	var names []string
	for _, f := range found { // sorted
		if strings.HasSuffix(f.Name(), keySuffix) {
			names = append(names, f.Name())
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Equal(names, r.names) {
		return nil
	}
	keys := make([]Key, len(names))
	for i, name := range names {
		if keys[i], err = readKey(filepath.Join(r.dir, name)); err != nil {
			return err
		}
		keys[i].Current = i == len(names)-1
	}
	r.names, r.keys = names, keys
	return nil
}

// ownersAlone refuses a directory in which others can put files: the newest key is
// told to the edge, whosever it is.
func ownersAlone(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("keys: others on this machine can put a key of their own into %s: chmod go-w %s, and look at what is in it (`keys ls`)", dir, dir)
	}
	return nil
}

// refresh looks for keys that were made, brought back or taken away meanwhile. A
// directory that cannot be read leaves what is known.
func (r *Keyring) refresh() {
	err := r.read()
	r.mu.Lock()
	defer r.mu.Unlock()
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != r.said && err != nil {
		r.log.Error().Err(err).Msg("the keys cannot be read again; those read before are used")
	}
	r.said = text
}

// Current is the newest key; false where there is none.
func (r *Keyring) Current() (Key, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.keys) == 0 {
		return Key{}, false
	}
	return r.keys[len(r.keys)-1], true
}

// Recipients are what the edge is told with every renewal: the current key's
// public half. It looks for a new key first, so that a rotation needs no restart.
func (r *Keyring) Recipients() []string {
	r.refresh()
	k, ok := r.Current()
	if !ok {
		return nil
	}
	return []string{k.Recipient}
}

// all are the ids and the identities of all keys, the newest first.
func (r *Keyring) all() (ids []string, identities []age.Identity) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range slices.Backward(r.keys) {
		ids, identities = append(ids, k.ID), append(identities, k.identity)
	}
	return ids, identities
}

// Secrets are keys as files of age, for a backup.
func Secrets(keys []Key) []byte {
	var text []byte
	for _, k := range keys {
		text = append(text, k.text()...)
	}
	return text
}

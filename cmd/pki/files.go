package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	caFile = "ca"

	dirMode         = 0o700
	keyMode         = 0o600
	certificateMode = 0o644
)

// existing is the path of a file in the way; fs.ErrExist is what it is compared
// with.
type existing string

func (e existing) Error() string {
	remedy := "move it away, or choose another directory or file name"
	if pair := pairIn(filepath.Dir(string(e)), caFile); string(e) == pair.Key || string(e) == pair.Certificate {
		remedy = "choose another directory for a new CA, or issue a further certificate from the one that is there"
	}
	return string(e) + " exists already and is never overwritten: " + remedy
}

func (e existing) Is(target error) bool { return target == fs.ErrExist }

func pairIn(dir, name string) Pair {
	return Pair{Certificate: filepath.Join(dir, name+".crt"), Key: filepath.Join(dir, name+".key")}
}

// prepare makes the directory, and looks for files that are in the way before
// any key is made.
func prepare(dir string, pairs []Pair) error {
	if dir == "" {
		return invalid("name the directory to create the CA in")
	}
	if err := makeDir(dir); err != nil {
		return err
	}
	return refuseExisting(pairs)
}

func makeDir(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil { //nolint:gosec // the parents are nobody's secret; the directory itself is 0700
			return err
		}
		return os.MkdirAll(dir, dirMode)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory: choose another one", dir)
	default:
		return closeDir(dir, info.Mode())
	}
}

// closeDir makes an empty directory private. One that holds something belongs
// to somebody, so its mode is left alone; but where others may write, they could
// put their own CA in the place of this one.
func closeDir(dir string, mode fs.FileMode) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		return os.Chmod(dir, dirMode)
	}
	if mode.Perm()&0o022 != 0 {
		return fmt.Errorf("others may write to %s (mode %04o): run chmod 0700 on it, or choose another directory", dir, mode.Perm())
	}
	return nil
}

func refuseExisting(pairs []Pair) error {
	for _, p := range pairs {
		for _, path := range []string{p.Key, p.Certificate} {
			_, err := os.Lstat(path) // a dangling link is in the way, too
			if err == nil {
				return existing(path)
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// store writes each credential to its pair, keys first, and puts the end of
// validity into the pair. What it wrote before a failure it removes; a second
// call at the same time therefore fails at its first file and harms nothing.
func store(dir string, pairs []Pair, credentials []credential) (err error) {
	var written []string
	defer func() {
		if err != nil {
			for _, path := range written {
				_ = os.Remove(path) // the failure that led here is the one to tell
			}
		}
	}()
	for i, c := range credentials {
		pairs[i].NotAfter = c.notAfter
		if err := write(dir, pairs[i].Key, c.key, keyMode); err != nil {
			return err
		}
		written = append(written, pairs[i].Key)
		if err := write(dir, pairs[i].Certificate, c.certificate, certificateMode); err != nil {
			return err
		}
		written = append(written, pairs[i].Certificate)
	}
	return syncDir(dir)
}

// write makes the file appear whole under its name or not at all. It links the
// finished file to the name, since a rename would replace a file that has
// appeared there meanwhile.
func write(dir, path string, text []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(dir, ".pki-*") // 0600 from the start
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	err = fill(f, text, mode)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("%s cannot be written: %w", path, err)
	}
	if err := os.Link(f.Name(), path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return existing(path)
		}
		return fmt.Errorf("%s cannot be written: %w", path, err)
	}
	return nil
}

func fill(f *os.File, text []byte, mode fs.FileMode) error {
	if _, err := f.Write(text); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil { // exactly, whatever the umask is
		return err
	}
	return f.Sync()
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	return d.Sync()
}

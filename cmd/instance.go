package cmd

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// instanceOf is the stable name of the drain that owns a state directory. The
// directory is locked, so two processes never have the same one: whoever comes
// again under it proves that the one before is gone.
func instanceOf(dir string) (string, error) {
	path := filepath.Join(dir, "instance")
	text, err := os.ReadFile(path)
	if err == nil && len(strings.TrimSpace(string(text))) > 0 {
		return strings.TrimSpace(string(text)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("instance of this state directory: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	name := host + "-" + strings.ToLower(rand.Text())
	if err := writeSynced(path, name+"\n"); err != nil {
		return "", fmt.Errorf("name this state directory: %w", err)
	}
	return name, nil
}

// writeSynced writes a small file whole and waits until it is on the disk: a name
// that a power cut takes away would make the next drain wait for the lease of a
// stranger.
func writeSynced(path, text string) error {
	temporary := path + ".new"
	if err := writeAndSync(temporary, text); err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func writeAndSync(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}

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
	temporary := path + ".new"
	if err := os.WriteFile(temporary, []byte(name+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("name this state directory: %w", err)
	}
	return name, os.Rename(temporary, path)
}

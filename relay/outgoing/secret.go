package outgoing

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// maxSecret bounds a file that holds a secret, in bytes.
const maxSecret = 8 << 10

// ReadSecret reads a file with one line, which is a secret: not everybody on the
// machine may read it, and no error repeats any of it.
func ReadSecret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // it was read only
	info, err := f.Stat()
	if err == nil {
		err = private(path, info)
	}
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", err
	}
	line := strings.TrimRight(string(text), "\r\n")
	if line == "" || len(text) > maxSecret || strings.ContainsFunc(line, unfit) {
		return "", fmt.Errorf("%s must hold one line of at most %d bytes", path, maxSecret)
	}
	return line, nil
}

// keptPrivate is the same rule for a file that is read elsewhere.
func keptPrivate(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return private(path, info)
}

func private(path string, info os.FileInfo) error {
	if info.Mode().Perm()&0o007 != 0 {
		return fmt.Errorf("%s can be read by everybody on this machine; chmod o= %s", path, path)
	}
	return nil
}

// unfit: no header may hold it (RFC 9110, 5.5).
func unfit(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

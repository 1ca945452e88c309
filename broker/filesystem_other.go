//go:build !linux

package broker

import (
	"errors"
	"fmt"
)

// Probe knows nothing on this system, so that Choose takes ModeAlways: the
// barrier is proven on Linux only.
func Probe(string) (Facts, error) { return Facts{}, nil }

// DiskSpace is not there on this system; the error wraps errors.ErrUnsupported.
func DiskSpace(dir string) (Space, error) {
	return Space{}, fmt.Errorf("looking for free space in %s: %w", dir, errors.ErrUnsupported)
}

//go:build !linux

package broker

import (
	"errors"
	"fmt"
)

// Choose takes ModeAlways on this system, so no barrier asks for either.

func syncFilesystem(int) error { return fmt.Errorf("syncfs: %w", errors.ErrUnsupported) }

func dropCached(string) error { return fmt.Errorf("fadvise: %w", errors.ErrUnsupported) }

//go:build !unix || aix || solaris

package broker

import (
	"errors"
	"os"
)

func flock(*os.File) error { return errors.ErrUnsupported }

func funlock(*os.File) error { return errors.ErrUnsupported }

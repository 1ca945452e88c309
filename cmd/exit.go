package cmd

import (
	"errors"

	"github.com/theforeman/foreman-relay/relay"
)

// Exit codes; part of the public surface.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitDenied      = 4
	exitUnavailable = 5
	exitConflict    = 6
	exitPartly      = 7
	exitNotSent     = 8 // a message that was waited for ended otherwise than delivered
)

// usageError is a wrong call or configuration.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usage(err error) error {
	if err == nil {
		return nil
	}
	return usageError{err}
}

// silentError ends the program with a code; everything has been said.
type silentError struct{ code int }

func (silentError) Error() string { return "" }

// exitCode is the one table of errors and exit codes.
func exitCode(err error) int {
	var silent silentError
	var wrong usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &silent):
		return silent.code
	case errors.As(err, &wrong):
		return exitUsage
	}
	switch relay.CodeOf(err) {
	case relay.CodeNotFound:
		return exitNotFound
	case relay.CodeDenied, relay.CodeUnauthenticated:
		return exitDenied
	case relay.CodeUnavailable, relay.CodeAway, relay.CodeTimeout:
		return exitUnavailable
	case relay.CodeConflict, relay.CodeKeyConflict, relay.CodeInFlight:
		return exitConflict
	case relay.CodeMalformed, relay.CodeInvalid:
		return exitUsage
	default:
		return exitFailure
	}
}

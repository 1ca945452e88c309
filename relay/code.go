package relay

import (
	"errors"
	"fmt"
	"time"
)

// Code is the one vocabulary of refusals. Package handlers maps it to HTTP
// statuses, once, and its client reads it back.
type Code string

// The codes. After CodeUnavailable the outcome is unknown and the same key is
// safe to send again; after every other one nothing was stored. CodeAway is for
// what is only passed on: nothing is stored of it in any case.
const (
	CodeMalformed            Code = "malformed"
	CodeInvalid              Code = "invalid"
	CodeKeyConflict          Code = "key-conflict"
	CodeInFlight             Code = "in-flight"
	CodeTooLarge             Code = "too-large"
	CodeUnsupportedMediaType Code = "unsupported-media-type"
	CodeNotFound             Code = "not-found"
	CodeMethodNotAllowed     Code = "method-not-allowed"
	CodeUnauthenticated      Code = "unauthenticated"
	CodeDenied               Code = "denied"
	CodeTooManyRequests      Code = "too-many-requests"
	CodeTimeout              Code = "timeout"
	CodeConflict             Code = "conflict"
	CodeUnavailable          Code = "unavailable"
	CodeAway                 Code = "away"
	CodeStorageFull          Code = "storage-full" // the disk
	CodeQuotaFull            Code = "quota-full"   // what a queue may hold
	CodeInternal             Code = "internal"
)

// Violation is one thing wrong in a body: where (a JSON pointer, RFC 6901) and
// what.
type Violation struct {
	Pointer string `json:"pointer"`
	Message string `json:"message"`
}

// Error is a refusal: what, where and what to do.
type Error struct {
	Code       Code
	Detail     string // one sentence for a person
	Reason     string // one word for a machine, where the code has several; empty: none
	Violations []Violation
	RetryAfter time.Duration // 0: none to suggest
	Err        error         // cause, for the log only
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Detail + ": " + e.Err.Error()
	}
	return e.Detail
}

func (e *Error) Unwrap() error { return e.Err }

// Refuse makes an Error.
func Refuse(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// AsError is a copy of the refusal in an error; an internal one when it carries
// none.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		c := *e
		return &c
	}
	return &Error{Code: CodeInternal, Err: err}
}

// CodeOf finds the code of an error; CodeInternal when it carries none.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// MaxInline is how large a body may be that is stored in the message itself, in
// bytes. A larger one is stored in pieces before its message, which then holds
// only digest, size and where the pieces are (a claim check), and it is never
// held in memory whole where nobody has to look at it.
const MaxInline = 1 << 20

// ErrDamaged: a body that is stored in pieces is not what was accepted, or not
// all of it is there. It will not get better.
var ErrDamaged = errors.New("the stored body is damaged")

// Unreadable says whether a body will not get better.
func Unreadable(err error) bool {
	return errors.Is(err, ErrDamaged) || errors.Is(err, ErrUndecryptable)
}

// UnreadBody judges an attempt whose body could not be read: what is damaged, or
// cannot be decrypted, stays so and is buried. Else the attempt does not count,
// unless the destination turns out to be away anyway.
func UnreadBody(err error) Result {
	detail := Excerpt([]byte(err.Error()))
	switch {
	case errors.Is(err, ErrDamaged):
		return Result{Class: ClassRejected, Reason: ReasonDamaged, Detail: detail}
	case errors.Is(err, ErrUndecryptable):
		return Result{Class: ClassRejected, Reason: ReasonUndecryptable, Detail: detail}
	}
	return Result{Class: ClassUnavailable, Confirmed: ClassOutage, Reason: ReasonUnavailable, Detail: detail}
}

// Length is the size of the body, in bytes; -1 where it has yet to come.
func (m *Message) Length() int64 {
	if m.Object != "" || m.Open != nil {
		return m.Size
	}
	return int64(len(m.Body))
}

// Content reads the body from its beginning, wherever it is; the caller closes
// it. Reading fails with ErrDamaged before a single wrong byte is given, and before
// the end of a body that is not whole.
func (m *Message) Content(ctx context.Context) (io.ReadCloser, error) {
	switch {
	case m.Open != nil:
		return m.Open(ctx)
	case m.Object != "":
		return nil, fmt.Errorf("%w: nobody can read its pieces here", ErrDamaged)
	}
	return io.NopCloser(bytes.NewReader(m.Body)), nil
}

// Load is the body whole, for who cannot do with less.
func (m *Message) Load(ctx context.Context) ([]byte, error) {
	if m.Open == nil && m.Object == "" {
		return m.Body, nil
	}
	r, err := m.Content(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }() // only read
	body := make([]byte, m.Size)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	return body, nil
}

// ObjectName names the pieces of a body: a token of its own, which tells one
// upload from another, and their number.
func ObjectName(token string, pieces int) string { return token + "-" + strconv.Itoa(pieces) }

// FreshObject is the token of a new upload.
func FreshObject() string { return tokenEncoding.EncodeToString(randomBytes(10))[:objectTokenLen] }

// objectTokenLen is 60 bits: it need only differ among the uploads of one id.
const objectTokenLen = 12

// ParseObject is the inverse of ObjectName.
func ParseObject(name string) (token string, pieces int, ok bool) {
	token, number, found := strings.Cut(name, "-")
	pieces, err := strconv.Atoi(number)
	return token, pieces, found && err == nil && pieces > 0 && len(token) == objectTokenLen && isToken(token)
}

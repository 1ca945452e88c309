package seal

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"

	"github.com/theforeman/foreman-relay/relay"
)

// maxHeader bounds the header of a sealed text, in bytes: its recipients.
const maxHeader = 8 << 10

// Open is the message as it is delivered: its credentials in clear, and its body.
// A body in pieces is opened while it is read; that its key is there and that it
// begins right is known before. The message it is given stays as it is.
// relay.ErrUndecryptable where the key is missing or something was changed; any
// other error is about reading the body.
func (r *Keyring) Open(ctx context.Context, m *relay.Message) (*relay.Message, error) {
	opened := *m
	if m.Sealed != "" {
		c, err := r.openCredentials(m)
		if err != nil {
			return nil, err
		}
		opened.Credentials = c
	}
	if m.Encryption == "" {
		return &opened, nil
	}
	opened.Encryption = ""
	if m.Object != "" {
		return r.openLarge(ctx, m, &opened)
	}
	clear, err := r.whole(m, forBody, m.Body)
	if err != nil {
		return nil, err
	}
	opened.Body, opened.Digest = clear, relay.DigestOf(clear)
	return &opened, nil
}

func (r *Keyring) openCredentials(m *relay.Message) (*relay.Credentials, error) {
	sealed, err := base64.StdEncoding.DecodeString(m.Sealed)
	if err != nil {
		return nil, fmt.Errorf("%w: the sealed credentials are no base64", relay.ErrUndecryptable)
	}
	text, err := r.whole(m, forCredentials, sealed)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	var p passed
	if err := json.Unmarshal(text, &p); err != nil {
		return nil, fmt.Errorf("%w: the sealed credentials cannot be read", relay.ErrUndecryptable)
	}
	c := relay.Credentials(p)
	return &c, nil
}

// whole opens what is in memory.
func (r *Keyring) whole(m *relay.Message, p purpose, sealed []byte) ([]byte, error) {
	clear, err := r.begin(m, p, bytes.NewReader(sealed))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(clear) // bounded by what is sealed
	if err != nil {
		return nil, changed(p, err)
	}
	return text, nil
}

// begin opens a sealed text as far as its preamble.
func (r *Keyring) begin(m *relay.Message, p purpose, sealed io.Reader) (io.Reader, error) {
	clear, err := r.decrypt(m, p, sealed)
	if err != nil {
		return nil, err
	}
	want := p.preamble(m.Queue)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(clear, got); err != nil {
		return nil, changed(p, err)
	}
	if !bytes.Equal(got, want) {
		return nil, fmt.Errorf("%w: what is sealed there is not the %s of a message for %s", relay.ErrUndecryptable, p, m.Queue)
	}
	return clear, nil
}

// decrypt finds the key. One that is not known may have been brought back since.
func (r *Keyring) decrypt(m *relay.Message, p purpose, sealed io.Reader) (io.Reader, error) {
	buffered := bufio.NewReaderSize(sealed, maxHeader)
	head, err := buffered.Peek(maxHeader)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, changed(p, err)
	}
	header, err := age.ExtractHeader(bytes.NewReader(head))
	if err != nil {
		return nil, changed(p, err)
	}
	for range 2 {
		ids, identities := r.all()
		key, err := age.DecryptHeader(header, identities...)
		var unknown *age.NoIdentityMatchError
		if len(ids) == 0 || errors.As(err, &unknown) { // of none at all age says something else
			r.refresh()
			err = fmt.Errorf("%w: the %s is sealed to %s, which is not here; here are %s", relay.ErrUndecryptable, p, keyOf(m, p), named(strings.Join(ids, ",")))
			if again, _ := r.all(); !equal(ids, again) {
				continue
			}
			return nil, err
		}
		if err != nil {
			return nil, changed(p, err)
		}
		clear, err := age.Decrypt(buffered, age.NewInjectedFileKeyIdentity(key))
		if err != nil {
			return nil, changed(p, err)
		}
		return clear, nil
	}
	return nil, fmt.Errorf("%w: the keys change all the time", relay.ErrUndecryptable)
}

func equal(a, b []string) bool { return strings.Join(a, ",") == strings.Join(b, ",") }

// keyOf is what is known of the key. What Foreman has sealed does not name it.
func keyOf(m *relay.Message, p purpose) string {
	if p == forCredentials && m.Standing {
		return "a key of Foreman's choice (the document of the handshake)"
	}
	return "key " + named(m.SealedTo)
}

// named is a list of ids in a sentence.
func named(ids string) string {
	if ids == "" {
		return "none"
	}
	return relay.Excerpt([]byte(strings.ReplaceAll(ids, ",", " and ")))
}

// changed tells an error of reading from one of opening. What the broker could not
// read is no matter of keys.
func changed(p purpose, err error) error {
	var read *readError
	if errors.As(err, &read) {
		return read.error
	}
	return fmt.Errorf("%w: the sealed %s was changed since it was stored, or not all of it is there", relay.ErrUndecryptable, p)
}

// readError is about where the sealed text comes from.
type readError struct{ error }

func (e *readError) Unwrap() error { return e.error }

package seal

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/theforeman/foreman-relay/relay"
)

// SealerOptions make a Sealer; all are needed.
type SealerOptions struct {
	// Recipients are the public keys of whoever delivers for a destination.
	Recipients func(destination string) []string
	Covers     func(ctx context.Context, organization string) (bool, error)
	Blind      func(ctx context.Context, text string) (string, error)
}

// Sealer is the edge's (relay.Sealer). It holds no key that opens anything.
type Sealer struct{ options SealerOptions }

// NewSealer makes a sealer.
func NewSealer(o SealerOptions) *Sealer { return &Sealer{o} }

// Covers implements relay.Sealer.
func (s *Sealer) Covers(ctx context.Context, organization string) (bool, error) {
	return s.options.Covers(ctx, organization)
}

// Blind implements relay.Sealer.
func (s *Sealer) Blind(ctx context.Context, text string) (string, error) {
	return s.options.Blind(ctx, text)
}

// noKeyRetry is what a sender is told: a drain says its keys seconds after it has
// reached the edge.
const noKeyRetry = 30 * time.Second

// recipients are the keys to seal to now, and their ids.
func (s *Sealer) recipients(destination string) (keys []age.Recipient, ids string, err error) {
	var names []string
	for _, text := range s.options.Recipients(destination) {
		r, err := age.ParseX25519Recipient(text)
		if err != nil { // a drain of another kind; the others may be enough
			continue
		}
		keys, names = append(keys, r), append(names, IDOf(text))
	}
	if len(keys) == 0 {
		return nil, "", &relay.Error{Code: relay.CodeUnavailable, RetryAfter: noKeyRetry, Detail: "nothing can be sealed for " + destination +
			": no drain has told its key yet; start the one that delivers there, or configure sealing.recipients; nothing was stored"}
	}
	return keys, strings.Join(names, ","), nil
}

// passed is how credentials are written before they are sealed.
type passed struct {
	Authorization string `json:"authorization,omitempty"`
	Certificate   []byte `json:"certificate,omitempty"`
	Key           []byte `json:"key,omitempty"`
}

// SealCredentials implements relay.Sealer.
func (s *Sealer) SealCredentials(_ context.Context, m *relay.Message, c relay.Credentials) error {
	defer c.Forget()
	to, ids, err := s.recipients(m.Queue.Destination)
	if err != nil {
		return err
	}
	text, err := json.Marshal(passed(c))
	if err != nil {
		return errors.New("the credentials cannot be written down") // err may repeat some of them
	}
	defer clear(text)
	sealed, err := sealed(forCredentials.preamble(m.Queue), text, to)
	if err != nil {
		return fmt.Errorf("seal credentials: %w", err)
	}
	m.Sealed, m.SealedTo = base64.StdEncoding.EncodeToString(sealed), ids
	return nil
}

// sealed is a text with its preamble, sealed.
func sealed(preamble, text []byte, to []age.Recipient) ([]byte, error) {
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to...)
	if err != nil {
		return nil, err
	}
	for _, part := range [][]byte{preamble, text} {
		if _, err := w.Write(part); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// SealBody implements relay.Sealer. The digest becomes that of the sealed form:
// one of the clear form would let anybody who has the envelope try what a short
// body may have been.
func (s *Sealer) SealBody(ctx context.Context, m *relay.Message) error {
	to, ids, err := s.recipients(m.Queue.Destination)
	if err != nil {
		return err
	}
	if m.Open != nil {
		s.sealStream(m, to)
		m.Encryption, m.SealedTo = relay.EncryptionAge, ids
		return nil
	}
	if m.Print, err = s.Blind(ctx, m.Digest); err != nil {
		return err
	}
	body, err := sealed(forBody.preamble(m.Queue), m.Body, to)
	if err != nil {
		return fmt.Errorf("seal a body: %w", err)
	}
	m.Body, m.Digest = body, relay.DigestOf(body)
	m.Encryption, m.SealedTo = relay.EncryptionAge, ids
	return nil
}

// sealStream seals a body while it comes, 64 KiB at a time.
func (s *Sealer) sealStream(m *relay.Message, to []age.Recipient) {
	open, preamble := m.Open, forBody.preamble(m.Queue)
	if m.Size >= 0 {
		m.Size = atMost(m.Size+int64(len(preamble)), len(to))
	}
	m.Open = func(ctx context.Context) (io.ReadCloser, error) {
		clear, err := open(ctx)
		if err != nil {
			return nil, err
		}
		body := newStream(ctx, clear, s.options.Blind)
		if body.Reader, err = age.EncryptReader(io.MultiReader(bytes.NewReader(preamble), body.source()), to...); err != nil {
			return nil, errors.Join(err, clear.Close())
		}
		return body, nil
	}
}

package relay

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"strings"
)

// MaxCredentials bounds what may be passed with one message, in bytes of all its
// parts together: a chain of certificates with its key, and a token.
const MaxCredentials = 12 << 10

// Credentials are what an attempt shows in place of the relay's own: passed with
// a message by its sender, or configured where it is delivered for all messages
// of an organization. They print, and are written as JSON, as nothing.
type Credentials struct {
	Authorization string // value of the header; empty: none is sent
	Certificate   []byte // of a TLS client with what else is in its chain, PEM; nil: none
	Key           []byte // its key, PEM
}

const keptBack = "credentials, kept back"

// String leaves everything out.
func (c Credentials) String() string { return keptBack }

// GoString leaves everything out.
func (c Credentials) GoString() string { return keptBack }

// MarshalJSON leaves everything out.
func (c Credentials) MarshalJSON() ([]byte, error) { return []byte(`"` + keptBack + `"`), nil }

// Empty: there are none.
func (c Credentials) Empty() bool {
	return c.Authorization == "" && len(c.Certificate) == 0 && len(c.Key) == 0
}

// Check refuses what no attempt could use. Its words repeat nothing of it.
func (c Credentials) Check() error {
	if len(c.Authorization)+len(c.Certificate)+len(c.Key) > MaxCredentials {
		return Refuse(CodeTooLarge, "the credentials have more than %d bytes", MaxCredentials)
	}
	if c.Authorization != "" {
		scheme, value, found := strings.Cut(c.Authorization, " ")
		if !found || scheme == "" || strings.TrimSpace(value) == "" || strings.ContainsFunc(c.Authorization, unprintable) {
			return Refuse(CodeMalformed, "the authorization must be a scheme, a blank and the credentials, as in an Authorization header")
		}
	}
	if (len(c.Certificate) == 0) != (len(c.Key) == 0) {
		return Refuse(CodeMalformed, "a client certificate and its key are passed together, or not at all")
	}
	if len(c.Key) == 0 {
		return nil
	}
	_, err := c.Pair()
	return err
}

// Pair is the client certificate as TLS needs it.
func (c Credentials) Pair() (tls.Certificate, error) {
	if bytes.Contains(c.Key, []byte("ENCRYPTED")) {
		return tls.Certificate{}, Refuse(CodeInvalid, "the key of the client certificate is encrypted: nobody is there to say its password; pass it decrypted")
	}
	if block, _ := pem.Decode(c.Certificate); block == nil {
		return tls.Certificate{}, Refuse(CodeMalformed, "the client certificate is not PEM")
	}
	if block, _ := pem.Decode(c.Key); block == nil {
		return tls.Certificate{}, Refuse(CodeMalformed, "the key of the client certificate is not PEM")
	}
	pair, err := tls.X509KeyPair(c.Certificate, c.Key)
	if err != nil { // its words are not repeated: they are about the key
		return pair, Refuse(CodeInvalid, "the client certificate and its key cannot be used, or do not belong together")
	}
	return pair, nil
}

// tell is how much of a secret must not appear, in bytes: a text may be cut off in
// the middle of one, and may write a part of it otherwise.
const tell = 6

// Withhold gives a text, or a sentence in its place where it repeats some of the
// authorization: what a destination answers is stored, and on the edge. A key is
// never sent, so that no answer has it.
func (c Credentials) Withhold(text string) string {
	for _, secret := range c.secrets() {
		size := min(len(secret), tell)
		for i := 0; i+size <= len(secret); i++ {
			if strings.Contains(text, secret[i:i+size]) {
				return "the text is kept back: it repeats some of the credentials that were shown"
			}
		}
	}
	return text
}

// secrets are the secret words of the authorization.
func (c Credentials) secrets() []string {
	_, value, found := strings.Cut(c.Authorization, " ")
	if !found {
		value = c.Authorization
	}
	if value == "" {
		return nil
	}
	secrets := []string{value}
	if plain, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(value), "=")); err == nil {
		if _, password, found := strings.Cut(string(plain), ":"); found && password != "" {
			secrets = append(secrets, password)
		}
	}
	return secrets
}

// Forget overwrites the key. What crypto/tls and net/http have made of it goes
// with the garbage collector, and not sooner.
func (c *Credentials) Forget() {
	if c != nil {
		clear(c.Key)
	}
}

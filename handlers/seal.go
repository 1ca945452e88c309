package handlers

import (
	"context"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/theforeman/foreman-relay/relay"
)

// Headers with which a sender passes credentials for the delivery of its message,
// to a queue by its name. Certificate and key are PEM in base64, on one line.
const (
	headerAuthorization     = "Relay-Authorization"
	headerClientCertificate = "Relay-Client-Certificate"
	headerClientKey         = "Relay-Client-Key"
)

var credentialHeaders = [...]string{headerAuthorization, headerClientCertificate, headerClientKey}

// noCredentials refuses credentials where none are taken: a sender that passes
// some must not believe that they are used.
func noCredentials(h http.Header) error {
	for _, name := range credentialHeaders {
		if len(h.Values(name)) > 0 {
			return relay.Refuse(relay.CodeInvalid, "header %s is taken for a queue by its name alone, at /relay/v1/queues/…; nothing was stored", name)
		}
	}
	return nil
}

// seal seals what only whoever delivers may read: what was passed with the
// request, and the body where its organization wants that. Where nothing was
// passed, what Foreman's document has sealed for the queue goes with the message. It comes after all that
// looks at the body, and before anything is stored.
func (e *Edge) seal(m *relay.Message, req *http.Request) error {
	passed, err := takeCredentials(req.Header)
	if err != nil {
		return err
	}
	if !passed.Empty() {
		if e.Sealer == nil {
			passed.Forget()
			return relay.Refuse(relay.CodeInvalid, "credentials cannot be passed here: this edge seals nothing; nothing was stored")
		}
		if err := e.Sealer.SealCredentials(req.Context(), m, passed); err != nil {
			return err
		}
	}
	if passed.Empty() && e.Handshaker != nil {
		m.Attach(e.Handshaker.Credential(m.Queue))
	}
	if covered, err := e.covered(req.Context(), m); err != nil || !covered {
		return err
	}
	return e.Sealer.SealBody(req.Context(), m)
}

// covered says whether the message's body is to be sealed.
func (e *Edge) covered(ctx context.Context, m *relay.Message) (bool, error) {
	if e.Sealer == nil {
		return false, nil
	}
	return e.Sealer.Covers(ctx, m.Queue.Organization)
}

// derivedKey is the key that the route finds. It may be made of the body, so that
// of a body that is sealed only its blind form is kept.
func (e *Edge) derivedKey(ctx context.Context, m *relay.Message, r relay.Route, view relay.Request) (string, error) {
	key, found := r.Key.Derive(view)
	if !found {
		return "", nil
	}
	covered, err := e.covered(ctx, m)
	if err != nil || !covered {
		return key, err
	}
	blind, err := e.Sealer.Blind(ctx, key)
	return r.Name + "\x1f" + blind, err // derived keys are told from given ones by what no header holds
}

// takeCredentials reads what is passed and takes it out of the request. No error
// repeats any of it.
func takeCredentials(h http.Header) (c relay.Credentials, err error) {
	defer func() {
		for _, name := range credentialHeaders {
			h.Del(name)
		}
		err = named("Relay-Authorization, Relay-Client-Certificate or Relay-Client-Key", err)
		if err != nil {
			c.Forget()
		}
	}()
	given := 0
	for _, name := range credentialHeaders {
		if n := len(h.Values(name)); n > 1 {
			return c, relay.Refuse(relay.CodeMalformed, "%s is given %d times; give it once", name, n)
		}
		given += len(h.Values(name))
	}
	if given == 0 {
		return c, nil
	}
	c.Authorization = strings.TrimSpace(h.Get(headerAuthorization))
	if c.Certificate, err = lineOfPEM(h, headerClientCertificate); err != nil {
		return c, err
	}
	if c.Key, err = lineOfPEM(h, headerClientKey); err != nil {
		return c, err
	}
	if c.Empty() {
		return c, relay.Refuse(relay.CodeMalformed, "what is passed is empty; leave it out or give it a value")
	}
	return c, c.Check()
}

func lineOfPEM(h http.Header, name string) ([]byte, error) {
	text, err := base64.StdEncoding.DecodeString(strings.TrimSpace(h.Get(name)))
	if err != nil {
		return nil, relay.Refuse(relay.CodeMalformed, "%s must be PEM in base64 (RFC 4648, with padding), on one line", name)
	}
	return text, nil
}

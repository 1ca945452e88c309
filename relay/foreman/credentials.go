package foreman

import (
	"errors"
	"fmt"
	"strings"

	"github.com/theforeman/foreman-relay/relay/outgoing"
)

// Credentials are a user of Foreman's API: a login with its password or a
// personal access token. They print as the login alone.
type Credentials struct {
	User   string
	secret string
}

// String leaves the secret out.
func (c Credentials) String() string { return "user " + c.User }

// GoString leaves the secret out.
func (c Credentials) GoString() string { return c.String() }

// NewCredentials checks what the environment or a file says; an error repeats
// none of it.
func NewCredentials(user, secret string) (Credentials, error) {
	switch {
	case user == "" || secret == "":
		return Credentials{}, errors.New("a user of Foreman needs both a login and a password (or a personal access token)")
	case strings.Contains(user, ":"):
		return Credentials{}, errors.New("the login of a user of Foreman holds no colon")
	case strings.ContainsAny(user+secret, "\r\n\x00"):
		return Credentials{}, errors.New("login and password of a user of Foreman are one line each")
	}
	return Credentials{User: user, secret: secret}, nil
}

// ReadCredentials reads a file with one line, LOGIN:PASSWORD or LOGIN:TOKEN,
// that nobody but its owner and group can read.
func ReadCredentials(path string) (Credentials, error) {
	line, err := outgoing.ReadSecret(path)
	if err != nil {
		return Credentials{}, fmt.Errorf("credentials: %w", err)
	}
	user, secret, found := strings.Cut(line, ":")
	if !found {
		return Credentials{}, fmt.Errorf("credentials: %s must hold one line, LOGIN:PASSWORD or LOGIN:TOKEN", path)
	}
	c, err := NewCredentials(user, secret)
	if err != nil {
		return c, fmt.Errorf("credentials: %s: %w", path, err)
	}
	return c, nil
}

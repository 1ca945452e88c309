package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/seal"
)

// Sealing is about what only whoever delivers may read.
type Sealing struct {
	Organizations []string `yaml:"organizations" json:"organizations"` // edge: whose bodies are sealed; others may be so by their own state
	Recipients    []string `yaml:"recipients" json:"recipients"`       // edge: public keys to seal to, in place of what the drains tell
	Keys          string   `yaml:"keys" json:"keys"`                   // where it is delivered: directory of the keys; empty: keys in the state directory
}

// CredentialFiles are what is shown to Foreman for an organization in place of the
// relay's own certificate: names of files, never what is in them.
type CredentialFiles struct {
	Cert          string `yaml:"cert" json:"cert"`
	Key           string `yaml:"key" json:"key"`
	Authorization string `yaml:"authorization" json:"authorization"` // one line, the value of the header: "Bearer …"
}

func (c *Config) checkSealing() error {
	problems := []error{sealRecipients(c.Sealing.Recipients)}
	queues := c.queues()
	for _, o := range c.Sealing.Organizations {
		if !slices.ContainsFunc(queues, func(q relay.Queue) bool { return q.Organization == o }) {
			problems = append(problems, fmt.Errorf("sealing.organizations names %q; there is no such organization: add it to organizations, or leave it out", o))
		}
	}
	return errors.Join(problems...)
}

func sealRecipients(recipients []string) error {
	if err := relay.CheckRecipients(recipients); err != nil {
		return fmt.Errorf("sealing.recipients: %w; `foreman-relay keys export` prints one", err)
	}
	for _, r := range recipients {
		if err := seal.CheckRecipient(r); err != nil {
			return fmt.Errorf("sealing.recipients: %w", err)
		}
	}
	return nil
}

// sealer is the edge's.
func (c *Config) sealer(b *broker.Broker) relay.Sealer {
	return seal.NewSealer(seal.SealerOptions{Recipients: c.pinned(b.Recipients), Covers: c.covers(b.KnownOrganization), Blind: b.Blind})
}

// pinned recipients count alone, else those that the drains have told.
func (c *Config) pinned(told func(destination string) []string) func(destination string) []string {
	if len(c.Sealing.Recipients) == 0 {
		return told
	}
	return func(string) []string { return c.Sealing.Recipients }
}

// covers says whether bodies of an organization are sealed: as configured, or by
// its own state.
func (c *Config) covers(known func(organization string) (relay.Organization, bool)) func(context.Context, string) (bool, error) {
	return func(_ context.Context, organization string) (bool, error) {
		o, _ := known(organization)
		return o.Sealed || slices.Contains(c.Sealing.Organizations, organization), nil
	}
}

// keysDir is where the keys of whoever delivers are.
func (c *Config) keysDir() string {
	if c.Sealing.Keys != "" {
		return c.Sealing.Keys
	}
	return seal.Dir(c.StateDir)
}

// credentials reads those that are configured, by organization.
func (c *Config) credentials() (map[string]relay.Credentials, error) {
	all := map[string]relay.Credentials{}
	var problems []error
	for _, organization := range slices.Sorted(maps.Keys(c.Credentials)) {
		credentials, err := c.Credentials[organization].read()
		if err != nil {
			problems = append(problems, fmt.Errorf("credentials.%s: %w", organization, err))
		}
		all[organization] = credentials
	}
	return all, errors.Join(problems...)
}

func (f CredentialFiles) read() (c relay.Credentials, err error) {
	for _, part := range []struct {
		path    string
		private bool
		to      *[]byte
	}{{f.Cert, false, &c.Certificate}, {f.Key, true, &c.Key}} {
		if part.path == "" {
			continue
		}
		if *part.to, err = readSecret(part.path, part.private); err != nil {
			return c, err
		}
	}
	if f.Authorization != "" {
		line, err := readSecret(f.Authorization, true)
		if err != nil {
			return c, err
		}
		c.Authorization = strings.TrimRight(string(line), "\r\n")
	}
	if c.Empty() {
		return c, errors.New("give cert and key, or authorization: names of files")
	}
	return c, c.Check()
}

// readSecret reads a small file, which nobody but owner and group may be able to
// read if it is private.
func readSecret(path string, private bool) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was read only
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if private && info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("%s can be read by everybody on this machine; chmod o= %s", path, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, relay.MaxCredentials+1))
	if err == nil && len(text) > relay.MaxCredentials {
		err = fmt.Errorf("%s has more than %d bytes", path, relay.MaxCredentials)
	}
	return text, err
}

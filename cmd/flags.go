package cmd

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// envPrefix begins the environment variable of every flag: --state-dir is
// FOREMAN_RELAY_STATE_DIR.
const envPrefix = "FOREMAN_RELAY_"

// setting binds a flag to a place in the configuration.
type setting struct {
	flag, value, help string // value: the word for it in the help
	place             func(c *Config) any
}

var (
	stateSetting    = setting{"state-dir", "DIR", "state directory (default: in the user's state directory)", func(c *Config) any { return &c.StateDir }}
	formatSetting   = setting{"log-format", "FORMAT", "json or console (default: console on a terminal)", func(c *Config) any { return &c.Log.Format }}
	levelSetting    = setting{"log-level", "LEVEL", "debug, info, warn or error", func(c *Config) any { return &c.Log.Level }}
	foremanSettings = []setting{
		{"foreman-url", "URL", "where Foreman is; without it nothing is delivered from here", func(c *Config) any { return &c.Foreman.URL }},
		{"foreman-ca", "FILE", "CA of Foreman's certificate", func(c *Config) any { return &c.Foreman.CA }},
		{"foreman-cert", "FILE", "client certificate for Foreman", func(c *Config) any { return &c.Foreman.Cert }},
		{"foreman-key", "FILE", "its key", func(c *Config) any { return &c.Foreman.Key }},
		{"attempt-timeout", "TIME", "longest attempt to deliver", func(c *Config) any { return &c.Foreman.AttemptTimeout }},
		{"concurrency", "N", "attempts at one time, at most", func(c *Config) any { return &c.Foreman.Concurrency }},
	}
)

// serveSettings are the flags of `serve` and of `config`.
func serveSettings() []setting {
	return slices.Concat([]setting{
		stateSetting,
		{"listen", "ADDR", "address of the edge; other than loopback needs TLS", func(c *Config) any { return &c.Listen }},
		{"tls-cert", "FILE", "certificate of the edge", func(c *Config) any { return &c.TLS.Cert }},
		{"tls-key", "FILE", "its key", func(c *Config) any { return &c.TLS.Key }},
		{"tls-client-ca", "FILE", "demand client certificates of this CA", func(c *Config) any { return &c.TLS.ClientCA }},
		{"tls-client-auth", "HOW", "require a client certificate (the default), or request one", func(c *Config) any { return &c.TLS.ClientAuth }},
		{"tls-crl", "FILES", "what the client CAs have revoked; commas between the files", func(c *Config) any { return &c.TLS.CRL }},
		{"organization", "NAME", "organization of the host-facing routes", func(c *Config) any { return &c.Organization }},
		{"admin-socket", "PATH", "admin socket (default: in the state directory)", func(c *Config) any { return &c.AdminSocket }},
		{"durability", "MODE", "fsync, fsync-barrier, fsync-always or os", func(c *Config) any { return &c.Durability }},
		{"broker-listen", "ADDR", "let far drains dial in here, over mutual TLS", func(c *Config) any { return &c.Broker.Listen }},
		{"broker-cert", "FILE", "certificate of that listener", func(c *Config) any { return &c.Broker.Cert }},
		{"broker-key", "FILE", "its key", func(c *Config) any { return &c.Broker.Key }},
		{"broker-client-ca", "FILE", "CA of the drains' certificates", func(c *Config) any { return &c.Broker.CA }},
		{"broker-crl", "FILE", "which of that CA's certificates are revoked", func(c *Config) any { return &c.Broker.CRL }},
		formatSetting, levelSetting,
	}, foremanSettings)
}

// drainSettings are the flags of `drain`.
func drainSettings() []setting {
	return slices.Concat([]setting{
		stateSetting,
		{"broker", "URL", "broker of the edge, tls://HOST:PORT", func(c *Config) any { return &c.Broker.URL }},
		{"broker-ca", "FILE", "CA of the edge's certificate", func(c *Config) any { return &c.Broker.CA }},
		{"broker-cert", "FILE", "certificate of this drain", func(c *Config) any { return &c.Broker.Cert }},
		{"broker-key", "FILE", "its key", func(c *Config) any { return &c.Broker.Key }},
		{"broker-crl", "FILE", "which of that CA's certificates are revoked", func(c *Config) any { return &c.Broker.CRL }},
		{"destination", "NAME", "what to drain for, as the certificate says", func(c *Config) any { return &c.Broker.Destination }},
		formatSetting, levelSetting,
	}, foremanSettings)
}

// registerSettings are the flags of `register`.
func registerSettings() []setting {
	return slices.Concat([]setting{
		{"name", "NAME", "name of this relay among Foreman's smart proxies", func(c *Config) any { return &c.SmartProxy.Name }},
		{"url", "URL", "where Foreman reaches the edge", func(c *Config) any { return &c.SmartProxy.URL }},
	}, foremanSettings[:2])
}

// addSettings makes the flags; their defaults are those of the configuration.
func addSettings(f *pflag.FlagSet, settings []setting) {
	f.String("config", "", "configuration `FILE`, YAML")
	c := defaultConfig()
	for _, s := range settings {
		help := s.help + " `" + s.value + "`"
		switch v := s.place(&c).(type) {
		case *string:
			f.String(s.flag, *v, help)
		case *[]string:
			f.StringSlice(s.flag, *v, help)
		case *int:
			f.Int(s.flag, *v, help)
		case *time.Duration:
			f.Duration(s.flag, *v, help)
		}
	}
}

// loadConfig lays file, environment and flags over the defaults and checks the
// result.
func loadConfig(cmd *cobra.Command, settings []setting, env []string) (Config, error) {
	c := defaultConfig()
	flags := cmd.Flags()
	if err := setFromEnv(flags, env); err != nil {
		return c, usage(err)
	}
	if path, _ := flags.GetString("config"); path != "" {
		if err := c.readFile(path); err != nil {
			return c, err
		}
	}
	for _, s := range settings {
		f := flags.Lookup(s.flag)
		if !f.Changed {
			continue
		}
		switch v := s.place(&c).(type) {
		case *string:
			*v = f.Value.String()
		case *[]string:
			*v, _ = flags.GetStringSlice(s.flag)
		case *int:
			*v, _ = flags.GetInt(s.flag) // it was parsed before
		case *time.Duration:
			*v, _ = flags.GetDuration(s.flag)
		}
	}
	return c, nil
}

// setFromEnv gives every flag that was not given its variable. A variable that
// is no flag of this command is an error: it may be a misspelt limit.
func setFromEnv(flags *pflag.FlagSet, env []string) error {
	var problems []error
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		rest, ours := strings.CutPrefix(name, envPrefix)
		if !ours {
			continue
		}
		f := flags.Lookup(strings.ToLower(strings.ReplaceAll(rest, "_", "-")))
		switch {
		case f == nil:
			if !knownVariable(rest) {
				problems = append(problems, fmt.Errorf("environment variable %s: there is no such setting", name))
			}
		case !f.Changed:
			if err := flags.Set(f.Name, value); err != nil {
				problems = append(problems, fmt.Errorf("environment variable %s: %w", name, err))
			}
		}
	}
	return errors.Join(problems...)
}

// knownVariable: one environment may serve several commands.
func knownVariable(rest string) bool {
	name := strings.ToLower(strings.ReplaceAll(rest, "_", "-"))
	return name == "config" || name == credentialsFlag || slices.ContainsFunc(slices.Concat(serveSettings(), drainSettings(), registerSettings()), func(s setting) bool { return s.flag == name })
}

// variable looks up a variable of an environment given as a list.
func variable(env []string) func(string) string {
	return func(name string) string {
		for _, entry := range env {
			if k, v, _ := strings.Cut(entry, "="); k == name {
				return v
			}
		}
		return ""
	}
}

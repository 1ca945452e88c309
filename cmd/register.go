package cmd

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/theforeman/foreman-relay/relay/foreman"
)

// Where the user of Foreman's API comes from: a file, or these variables. There
// is no flag for a password: everybody on the machine sees those of a process.
const (
	credentialsFlag = "credentials"
	userVariable    = "FOREMAN_USERNAME"
	secretVariable  = "FOREMAN_PASSWORD"
)

// registerTimeout leaves Foreman its own 60 s (proxy_request_timeout) to find out
// that it does not reach the relay.
const registerTimeout = 90 * time.Second

func registerCommand(p *program) *cobra.Command {
	c := &cobra.Command{Use: "register", Short: "Make this relay a smart proxy of Foreman, or have Foreman read anew what it can do", Args: noArgs,
		Long: "Makes the smart proxy in Foreman, or changes the URL of the one with this name, and has Foreman read its features anew.\n" +
			"The relay must run: Foreman asks it. Doing it again changes nothing; organizations are added, never taken away.\n\n" +
			"The user of Foreman is read from a file (--credentials: one line, LOGIN:PASSWORD or LOGIN:TOKEN) or from " + userVariable + " and " + secretVariable + ".",
		Example: "  foreman-relay register --config /etc/foreman-relay.yaml --credentials /root/foreman\n" +
			"  foreman-relay register --foreman-url https://foreman.example.com --name edge1 --url https://edge1.example.com:8443 --assign ACME"}
	addSettings(c.Flags(), registerSettings())
	file := c.Flags().String(credentialsFlag, "", "`FILE` with the user of Foreman, LOGIN:PASSWORD or LOGIN:TOKEN")
	assign := c.Flags().StringArray("assign", nil, "add it to this `ORGANIZATION`, by title or id; may be given again")
	outputFlags(c, registerTimeout)
	c.RunE = func(c *cobra.Command, _ []string) error {
		out, err := p.printer(c)
		if err != nil {
			return err
		}
		config, err := loadConfig(c, registerSettings(), p.env)
		if err != nil {
			return err
		}
		if err := checkRegister(config); err != nil {
			return err
		}
		api, done, err := p.foremanAPI(c, config, *file)
		if err != nil {
			return err
		}
		defer done()
		r, err := api.Register(c.Context(), foreman.Registration{Name: config.SmartProxy.Name, URL: config.SmartProxy.URL, Organizations: *assign})
		if err != nil {
			return err
		}
		p.warnUnknown(config, r)
		return fields(out, r, r.Name, "name", r.Name, "url", r.URL, "id", r.ID, "done", r.Done,
			"features", strings.Join(r.Features, ", "), "organizations", strings.Join(r.Organizations, ", "))
	}
	return c
}

// checkRegister says all that is missing at once.
func checkRegister(c Config) error {
	missing := func(value, what string) error {
		if value == "" {
			return errors.New("registering needs " + what)
		}
		return nil
	}
	return usage(errors.Join(missing(c.Foreman.URL, "--foreman-url (foreman.url)"), missing(c.SmartProxy.Name, "--name (smart_proxy.name): each relay has its own"),
		missing(c.SmartProxy.URL, "--url (smart_proxy.url): where Foreman reaches the edge, each relay's its own"), c.SmartProxy.check()))
}

// foremanAPI is Foreman's API as the user that file or environment name.
func (p *program) foremanAPI(c *cobra.Command, config Config, file string) (api *foreman.API, done func(), err error) {
	who, err := p.credentials(file)
	if err != nil {
		return nil, nil, usage(err)
	}
	timeout, _ := c.Flags().GetDuration("timeout") // registered by outputFlags
	o := config.Foreman.options(timeout, 1)
	o.CertFile, o.KeyFile = "", "" // the user counts, and the file of a key may be another user's
	client, err := foreman.New(foreman.Options{Options: o})
	if err != nil {
		return nil, nil, usage(err)
	}
	if api, err = client.API(who); err != nil {
		return nil, nil, usage(err)
	}
	return api, client.Close, nil
}

func (p *program) credentials(file string) (foreman.Credentials, error) {
	if file != "" {
		return foreman.ReadCredentials(file)
	}
	env := variable(p.env)
	if env(userVariable) == "" && env(secretVariable) == "" {
		return foreman.Credentials{}, fmt.Errorf("no user of Foreman is given: --%s FILE, or %s and %s in the environment", credentialsFlag, userVariable, secretVariable)
	}
	who, err := foreman.NewCredentials(env(userVariable), env(secretVariable))
	if err != nil {
		err = fmt.Errorf("%s and %s: %w", userVariable, secretVariable, err)
	}
	return who, err
}

// warnUnknown tells which features Foreman has dropped silently, where this
// configuration says what the relay announces.
func (p *program) warnUnknown(c Config, r foreman.Registered) {
	known := map[string]bool{}
	for _, f := range r.Features {
		known[strings.ToLower(strings.ReplaceAll(f, " ", ""))] = true
	}
	for _, f := range c.SmartProxy.Features {
		if !known[f] {
			p.note("Foreman does not know the feature %q, or the relay that answers at %s does not announce it", f, r.URL)
		}
	}
}

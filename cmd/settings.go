package cmd

import (
	"fmt"
	"runtime/debug"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
)

func configCommand(p *program) *cobra.Command {
	check := &cobra.Command{Use: "check", Short: "Say what is wrong with a configuration, if anything", Args: noArgs,
		Example: "  foreman-relay config check --config /etc/foreman-relay.yaml"}
	check.RunE = func(c *cobra.Command, _ []string) error {
		if _, err := p.effective(c); err != nil {
			return err
		}
		_, err := fmt.Fprintln(p.stderr, "ok")
		return err
	}
	show := &cobra.Command{Use: "show", Short: "Show the configuration as it would hold, all keys with their values", Args: noArgs,
		Example: "  foreman-relay config show --config /etc/foreman-relay.yaml"}
	format := show.Flags().StringP("output", "o", "yaml", "`FORMAT`: yaml or json")
	show.RunE = func(c *cobra.Command, _ []string) error {
		config, err := p.effective(c)
		if err != nil {
			return err
		}
		switch *format {
		case "yaml":
			text, err := yaml.Marshal(config)
			if err != nil {
				return err
			}
			_, err = p.stdout.Write(text)
			return err
		case "json":
			return (&printer{w: p.stdout}).printJSON(config)
		default:
			return usage(fmt.Errorf("--output is %q; choose yaml or json", *format))
		}
	}
	addSettings(check.Flags(), serveSettings())
	addSettings(show.Flags(), serveSettings())
	return noun("config", "See and check the configuration", check, show)
}

// effective is the configuration that `serve` would use with the same flags.
// The destinations' URLs are checked here too: they must hold no password.
func (p *program) effective(c *cobra.Command) (Config, error) {
	config, err := loadConfig(c, serveSettings(), p.env)
	if err != nil {
		return config, err
	}
	if err := config.complete("foreman-relay", variable(p.env)); err != nil {
		return config, err
	}
	if err := config.check(); err != nil {
		return config, err
	}
	all, _, err := config.outlets()
	for _, o := range all {
		o.close()
	}
	return config, err
}

func versionCommand(p *program) *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version", Args: noArgs, Example: "  foreman-relay version", RunE: func(*cobra.Command, []string) error {
		_, err := fmt.Fprintln(p.stdout, "foreman-relay "+Version())
		return err
	}}
}

// Version is that of the module, as the build recorded it.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

package cmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/seal"
)

// The commands about keys work on the directory of whoever delivers, with the
// rights of its user: no socket leads there from a far drain, and none should.
func keysCommand(p *program) *cobra.Command {
	return noun("keys", "See, renew and save the keys to which messages are sealed, where they are delivered", keysList(p), keysRotate(p), keysExport(p))
}

// keysFlags say which keys; the function it returns finds their directory.
func keysFlags(p *program, c *cobra.Command) func() (string, error) {
	addSettings(c.Flags(), []setting{stateSetting})
	return func() (string, error) {
		config, err := loadConfig(c, []setting{stateSetting}, p.env)
		if err != nil {
			return "", err
		}
		if config.StateDir != "" || config.Sealing.Keys != "" {
			return hasKeys(config.keysDir())
		}
		for _, name := range []string{"foreman-relay-drain", "foreman-relay"} { // as `drain` and `serve` choose it
			other := config
			if err := other.complete(name, variable(p.env)); err != nil {
				return "", err
			}
			if dir, err := hasKeys(other.keysDir()); err == nil {
				return dir, nil
			}
		}
		return "", relay.Refuse(relay.CodeNotFound, "there are no keys in the state directory of a `drain` or a `serve` started with nothing given; give --state-dir")
	}
}

func hasKeys(dir string) (string, error) {
	keys, err := seal.List(dir)
	if err == nil && len(keys) == 0 {
		err = relay.Refuse(relay.CodeNotFound, "there are no keys in %s; who delivers makes the first one at its start", dir)
	}
	return dir, err
}

func keysList(p *program) *cobra.Command {
	c := &cobra.Command{Use: "ls", Short: "List the keys, the oldest first; what comes is sealed to the current one", Args: noArgs,
		Example: "  foreman-relay keys ls --state-dir /var/lib/foreman-relay-drain"}
	outputFlags(c, time.Minute)
	find := keysFlags(p, c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		out, err := p.printer(c)
		if err != nil {
			return err
		}
		dir, err := find()
		if err != nil {
			return err
		}
		keys, err := seal.List(dir)
		if err != nil {
			return err
		}
		return list(out, keys, keyListing())
	}
	return c
}

func keyListing() listing[seal.Key] {
	return listing[seal.Key]{name: func(k seal.Key) string { return k.ID }, columns: []column[seal.Key]{
		{header: "ID", cell: func(k seal.Key) any { return k.ID }},
		{header: "CREATED", cell: func(k seal.Key) any { return when(&k.Created) }},
		{header: "CURRENT", cell: func(k seal.Key) any { return k.Current }},
		{header: "RECIPIENT", cell: func(k seal.Key) any { return k.Recipient }},
		{header: "FILE", cell: func(k seal.Key) any { return k.File }, wide: true},
	}}
}

func keysRotate(p *program) *cobra.Command {
	c := &cobra.Command{Use: "rotate", Short: "Make a new key, which is used from now on; the old ones still open what was sealed to them", Args: noArgs,
		Long: "Make a new key, which is used from now on; the old ones still open what was sealed to them.\n" +
			"A running drain tells it to the edge with its next renewal, within seconds. Run it as the user of the drain, or as root.",
		Example: "  foreman-relay keys rotate --state-dir /var/lib/foreman-relay-drain"}
	find := keysFlags(p, c)
	c.RunE = func(*cobra.Command, []string) error {
		dir, err := find()
		if err != nil {
			return err
		}
		ring, err := seal.OpenKeyring(dir, time.Now, zerolog.Nop())
		if err != nil {
			return err
		}
		k, err := ring.Rotate(time.Now())
		if err != nil {
			return err
		}
		p.note("an edge with sealing.recipients in its configuration has to be given the new one; keep the old keys as long as there are messages and letters of before")
		_, err = fmt.Fprintf(p.stdout, "%s\t%s\n", k.ID, k.Recipient)
		return err
	}
	return c
}

func keysExport(p *program) *cobra.Command {
	c := &cobra.Command{Use: "export [ID]", Short: "Print the public half of the current key, or write all keys into a file for a backup", Args: takesUpTo(1, "one id of a key at most"),
		Example: "  foreman-relay keys export\n  foreman-relay keys export --secret /root/relay-keys.age-identities --yes"}
	secret := c.Flags().String("secret", "", "write the secret keys into this new `FILE`, for a backup; with --yes")
	yes := c.Flags().Bool("yes", false, "the file opens all that is sealed: I keep it safe")
	find := keysFlags(p, c)
	c.RunE = func(_ *cobra.Command, args []string) error {
		dir, err := find()
		if err != nil {
			return err
		}
		keys, err := chosenKeys(dir, args)
		if err != nil {
			return err
		}
		if *secret == "" {
			_, err = fmt.Fprintln(p.stdout, keys[len(keys)-1].Recipient)
			return err
		}
		if !*yes {
			return usage(fmt.Errorf("%s would open all that is sealed: keep it where no backup of the edge is, and say --yes", *secret))
		}
		return p.exportSecret(*secret, keys)
	}
	return c
}

// chosenKeys are all keys, or the one with this id.
func chosenKeys(dir string, args []string) ([]seal.Key, error) {
	keys, err := seal.List(dir)
	if err != nil || len(args) == 0 {
		return keys, err
	}
	i := slices.IndexFunc(keys, func(k seal.Key) bool { return k.ID == args[0] })
	if i < 0 {
		return nil, relay.Refuse(relay.CodeNotFound, "there is no key %q in %s; see `foreman-relay keys ls`", args[0], dir)
	}
	return keys[i : i+1], nil
}

func (p *program) exportSecret(path string, keys []seal.Key) error {
	err := seal.WritePrivate(path, seal.Secrets(keys))
	if errors.Is(err, fs.ErrExist) {
		return relay.Refuse(relay.CodeConflict, "%s is there already; name a new file", path)
	}
	if err != nil {
		_ = os.Remove(path) // half a backup is none
		return fmt.Errorf("write the keys: %w", err)
	}
	p.note("%d keys are in %s, for its owner alone", len(keys), filepath.Clean(path))
	return nil
}

package cmd

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

// program is one call of the command line; nothing outlives it.
type program struct {
	stdout, stderr io.Writer
	env            []string
}

// Main runs one command and returns its exit code. Data goes to stdout, all else
// to stderr.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer, env []string) int {
	p := &program{stdout: stdout, stderr: stderr, env: env}
	root := p.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if text := message(err); text != "" {
		_, _ = fmt.Fprintln(stderr, "foreman-relay: "+text) // nobody is left to tell
	}
	return exitCode(err)
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), "\n", "\nforeman-relay: ")
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{Use: "foreman-relay", Short: "Store what hosts report, and deliver it to Foreman when Foreman can take it",
		SilenceErrors: true, SilenceUsage: true, Args: noArgs, RunE: needVerb}
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage(fmt.Errorf("%w (see `%s --help`)", err, c.CommandPath()))
	})
	root.AddCommand(serveCommand(p), drainCommand(p), queueCommand(p), messageCommand(p), dlqCommand(p), auditCommand(p), doctorCommand(p),
		configCommand(p), pkiCommand(p), versionCommand(p))
	return root
}

// noun makes a command that only holds verbs.
func noun(use, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: noArgs, RunE: needVerb}
	c.AddCommand(verbs...)
	return c
}

func needVerb(c *cobra.Command, _ []string) error {
	var names []string
	for _, s := range c.Commands() {
		if s.IsAvailableCommand() {
			names = append(names, s.Name())
		}
	}
	return usage(fmt.Errorf("`%s` needs one of: %s", c.CommandPath(), strings.Join(names, ", ")))
}

func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(fmt.Errorf("`%s` does not know %q (see `%s --help`)", c.CommandPath(), args[0], c.CommandPath()))
	}
	return nil
}

// takes demands one argument, up to most, and says what they are.
func takes(most int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < 1 || len(args) > most {
			return usage(fmt.Errorf("`%s` takes %s (see `%s --help`)", c.CommandPath(), what, c.CommandPath()))
		}
		return nil
	}
}

// operatorFlags are shared by every command that asks a running relay.
func operatorFlags(c *cobra.Command) {
	f := c.Flags()
	f.String("admin-socket", "", "admin socket of the relay, a `PATH` (default: that of a serve started with nothing given)")
	f.StringP("output", "o", "table", "`FORMAT`: table or json")
	f.Bool("no-headers", false, "leave the table's headers out")
	f.BoolP("quiet", "q", false, "print ids or names only")
	f.Duration("timeout", 30*time.Second, "give up after this `TIME`")
}

// ask runs a function with a client of the relay's admin API.
func (p *program) ask(c *cobra.Command, f func(ctx context.Context, o *handlers.Client, out *printer) error) error {
	out, err := p.printer(c)
	if err != nil {
		return err
	}
	socket, err := p.socket(c)
	if err != nil {
		return err
	}
	timeout, _ := c.Flags().GetDuration("timeout") // registered by operatorFlags
	ctx, cancel := context.WithTimeout(c.Context(), timeout)
	defer cancel()
	client := handlers.Dial(socket)
	defer client.Close()
	return f(ctx, client, out)
}

// socket is the flag, its variable, or the socket of a serve with nothing given.
func (p *program) socket(c *cobra.Command) (string, error) {
	if s, _ := c.Flags().GetString("admin-socket"); s != "" { // registered by operatorFlags
		return s, nil
	}
	env := variable(p.env)
	if s := env(envPrefix + "ADMIN_SOCKET"); s != "" {
		return s, nil
	}
	config := defaultConfig()
	config.StateDir = env(envPrefix + "STATE_DIR")
	err := config.complete("foreman-relay", env)
	return config.AdminSocket, err
}

// eachID does something for every id; some failures among successes are partly
// done.
func eachID(ids []string, stderr io.Writer, do func(id string) error) error {
	var last error
	failed := 0
	for _, id := range ids {
		if err := do(id); err != nil {
			failed++
			last = err
			if len(ids) > 1 {
				_, _ = fmt.Fprintf(stderr, "foreman-relay: %s: %v\n", id, err) // nobody is left to tell
			}
		}
	}
	switch {
	case failed == 0 || len(ids) == 1:
		return last
	case failed < len(ids):
		return silentError{exitPartly}
	default:
		return silentError{exitCode(last)}
	}
}

func parseQueueArg(s string) (relay.Queue, error) {
	q, err := relay.ParseQueue(s)
	return q, usage(err)
}

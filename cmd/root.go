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
		SilenceErrors: true, SilenceUsage: true, Args: noArgs, RunE: needVerb,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true}}
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage(fmt.Errorf("%w (see `%s --help`)", err, c.CommandPath()))
	})
	root.AddCommand(serveCommand(p), drainCommand(p), queueCommand(p), messageCommand(p), dlqCommand(p), enqueueCommand(p), importCommand(p), auditCommand(p), orgCommand(p),
		doctorCommand(p), registerCommand(p), handshakeCommand(p), keysCommand(p), configCommand(p), pkiCommand(p), completionCommand(p), versionCommand(p))
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
func takes(most int, what string) cobra.PositionalArgs { return takesFrom(1, most, what) }

// takesUpTo allows arguments, up to most, and says what they are.
func takesUpTo(most int, what string) cobra.PositionalArgs { return takesFrom(0, most, what) }

func takesFrom(least, most int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return usage(fmt.Errorf("`%s` takes %s (see `%s --help`)", c.CommandPath(), what, c.CommandPath()))
		}
		return nil
	}
}

// operatorFlags are shared by every command that asks a running relay.
func operatorFlags(c *cobra.Command) {
	c.Flags().String("admin-socket", "", "admin socket of the relay, a `PATH` (default: that of a serve started with nothing given)")
	outputFlags(c, 30*time.Second)
}

// outputFlags are about what is printed, and how long a call may take.
func outputFlags(c *cobra.Command, timeout time.Duration) {
	f := c.Flags()
	f.StringP("output", "o", asTable, "`FORMAT`: "+strings.Join(outputs[:], ", "))
	f.Bool("no-headers", false, "leave the headers of a table or of csv out")
	f.BoolP("quiet", "q", false, "print ids or names only, as --output name")
	f.String("color", "auto", "colour tables: `WHEN` is auto (on a terminal, unless NO_COLOR is set), always or never")
	f.Duration("timeout", timeout, "give up after this `TIME`; of several calls, each")
	complete(c, "output", known(outputs[:]))
	complete(c, "color", known(colorChoices[:]))
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
	client := handlers.Dial(socket)
	client.Timeout, _ = c.Flags().GetDuration("timeout") // registered by operatorFlags
	defer client.Close()
	return f(c.Context(), client, out)
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

// note tells something that is not data.
func (p *program) note(format string, args ...any) {
	_, _ = fmt.Fprintf(p.stderr, "foreman-relay: "+format+"\n", args...) // nobody is left to tell
}

// queueFlag registers --queue; the function it returns reads it, nil for none.
func queueFlag(p *program, c *cobra.Command) func() (*relay.Queue, error) {
	name := c.Flags().String("queue", "", "only of this `QUEUE`, ORGANIZATION/DESTINATION")
	complete(c, "queue", p.completeQueues)
	return func() (*relay.Queue, error) {
		if *name == "" {
			return nil, nil
		}
		q, err := parseQueueArg(*name)
		return &q, err
	}
}

func parseQueueArg(s string) (relay.Queue, error) {
	q, err := relay.ParseQueue(s)
	return q, usage(err)
}

// unhurried gives --timeout another default.
func unhurried(c *cobra.Command, d time.Duration) {
	f := c.Flags().Lookup("timeout")
	f.DefValue = d.String()
	_ = f.Value.Set(f.DefValue) // a duration's own text is one
}

package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/theforeman/foreman-relay/handlers"
)

// finding is one thing that the doctor has looked at.
type finding struct {
	Level string `json:"level"` // ok, warn, fail
	Check string `json:"check"`
	Where string `json:"where,omitempty"`
	What  string `json:"what"`
	Do    string `json:"do,omitempty"`
}

// The levels of findings: what is in order, what may become trouble, and what
// is trouble.
const (
	levelOK   = "ok"
	levelWarn = "warn"
	levelFail = "fail"
)

func doctorCommand(p *program) *cobra.Command {
	c := &cobra.Command{Use: "doctor", Short: "Look for what keeps a relay from working well, and say what to do", Args: noArgs,
		Long: "Looks at the disk of the state directory (what an answer promises there, how long a sync takes, space, inodes, clock), at\n" +
			"certificates, and, where a relay runs, at its readiness, its store and its queues. It never opens the store, and works\n" +
			"beside a running relay and without one, with the same flags and configuration as `serve`. A file `doctor-…` is written\n" +
			"into the state directory and taken away again.\n\n" +
			"Each finding is ok, warn (it may become trouble) or fail (it is). Exits with 1 when anything is fail.",
		Example: "  foreman-relay doctor --state-dir /var/lib/foreman-relay\n  foreman-relay doctor --config /etc/foreman-relay.yaml -o json"}
	addSettings(c.Flags(), serveSettings())
	format := c.Flags().StringP("output", "o", "table", "`FORMAT`: table or json")
	timeout := c.Flags().Duration("timeout", 30*time.Second, "give up waiting for disk or relay after this `TIME`")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *format != "table" && *format != "json" {
			return usage(fmt.Errorf("--output is %q; choose table or json", *format))
		}
		config, err := loadConfig(c, serveSettings(), p.env)
		if err != nil {
			return err
		}
		if err := config.complete("foreman-relay", variable(p.env)); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(c.Context(), *timeout)
		defer cancel()
		findings := examine(ctx, config, time.Now())
		if *format == "json" {
			err = (&printer{w: p.stdout}).printJSON(findings)
		} else {
			err = printFindings(p.stdout, findings)
		}
		if err == nil && failed(findings) {
			err = silentError{exitFailure}
		}
		return err
	}
	return c
}

// examine looks at everything.
func examine(ctx context.Context, c Config, now time.Time) []finding {
	client := handlers.Dial(c.AdminSocket)
	defer client.Close()
	relay := examineRelay(ctx, client, c)
	if relay.config != nil { // what it runs with counts, not what this call was given
		c = *relay.config
	}
	all := examineConfig(c)
	all = append(all, examineDisk(ctx, c, now)...)
	all = append(all, relay.findings...)
	return append(all, examineCertificates(c, now)...)
}

// examineConfig says what `serve` would refuse.
func examineConfig(c Config) []finding {
	err := c.check()
	if err == nil {
		return []finding{{Level: levelOK, Check: "configuration", What: "it can be used"}}
	}
	var all []finding
	for line := range strings.Lines(err.Error()) {
		all = append(all, finding{Level: levelFail, Check: "configuration", What: strings.TrimSpace(line),
			Do: "change it; `foreman-relay config check` says the same"})
	}
	return all
}

func failed(all []finding) bool {
	for _, f := range all {
		if f.Level == levelFail {
			return true
		}
	}
	return false
}

// printFindings writes a line for each, and below it what to do.
func printFindings(w io.Writer, all []finding) error {
	var problems []error
	for _, f := range all {
		where := ""
		if f.Where != "" {
			where = " (" + f.Where + ")"
		}
		_, err := fmt.Fprintf(w, "%-4s  %s: %s%s\n", f.Level, f.Check, f.What, where)
		problems = append(problems, err)
		if f.Do != "" {
			_, err = fmt.Fprintf(w, "      %s\n", f.Do)
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

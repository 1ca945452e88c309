package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

func handshakeCommand(p *program) *cobra.Command {
	return noun("handshake", "Look at, or replace, the document of organizations and routes that Foreman gives to the relay", handshakeApply(p), handshakeShow(p))
}

func handshakeApply(p *program) *cobra.Command {
	c := &cobra.Command{Use: "apply FILE", Short: "Put another document in the place of the one that counts", Args: takes(1, "one file; - is stdin"),
		Example: "  foreman-relay handshake apply tenants.json --dry-run\n  foreman-relay handshake apply tenants.json --if-match 3"}
	dry := c.Flags().Bool("dry-run", false, "only say what would change")
	match := c.Flags().String("if-match", "", "the `REVISION` that is replaced, or * for whatever is there; the first document needs none")
	operatorFlags(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		document, err := readMessage(c.InOrStdin(), args)
		if err != nil {
			return err
		}
		tag := *match
		if tag != "" && tag != "*" {
			tag = `"` + strings.Trim(tag, `"`) + `"`
		}
		return p.ask(c, func(ctx context.Context, o *handlers.Client, out *printer) error {
			r, err := o.TakeHandshake(ctx, document, tag, *dry)
			if err != nil {
				return err
			}
			return fields(out, r, fmt.Sprint(r.Revision), "revision", r.Revision, "changed", r.Changed, "dry run", r.DryRun,
				"added", strings.Join(r.Differences.Added, ", "), "changed members", strings.Join(r.Differences.Changed, ", "),
				"removed", strings.Join(r.Differences.Removed, ", "), "pending restart", strings.Join(r.PendingRestart, ", "), "not applied", notApplied(r))
		})
	}
	return c
}

func notApplied(r relay.HandshakeReply) string {
	var lines []string
	for _, v := range r.NotApplied {
		lines = append(lines, v.Pointer+": "+v.Message)
	}
	return strings.Join(lines, "; ")
}

func handshakeShow(p *program) *cobra.Command {
	c := &cobra.Command{Use: "show", Short: "Show the document that counts, without what is sealed", Args: noArgs,
		Example: "  foreman-relay handshake show -o json"}
	operatorFlags(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return p.ask(c, func(ctx context.Context, o *handlers.Client, out *printer) error {
			text, err := o.Handshake(ctx)
			if err != nil {
				return err
			}
			var record relay.HandshakeRecord
			if err := json.Unmarshal(text, &record); err != nil {
				return fmt.Errorf("the relay's answer cannot be read: %w", err)
			}
			d := record.Document
			return fields(out, text, fmt.Sprint(record.Revision), "revision", record.Revision, "organizations", len(d.Organizations),
				"destinations", len(d.Destinations), "routes", len(d.Routes), "credentials", len(d.Credentials), "pending", strings.Join(record.Pending, ", "))
		})
	}
	return c
}

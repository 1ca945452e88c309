package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

func dlqTop(p *program) *cobra.Command {
	c := &cobra.Command{Use: "top", Short: "Group dead letters by what they died of, the most frequent cause first", Args: noArgs,
		Long: "Group dead letters by what they died of, the most frequent cause first: by route, reason, status, and the error's text without what differs " +
			"from one message to the next (digits, hexadecimal words, UUIDs, times, addresses, hosts, quoted words).",
		Example: "  foreman-relay dlq top --since 1d\n  foreman-relay dlq show $(foreman-relay dlq top --limit 1 -q)   # an example of the first cause"}
	flags := newLetterFlags(p, c, limitFlag(c, relay.DefaultCauses))
	c.RunE = func(c *cobra.Command, _ []string) error {
		f, err := flags.filter()
		if err != nil {
			return err
		}
		return p.ask(c, func(ctx context.Context, o *handlers.Client, out *printer) error {
			report, err := o.Causes(ctx, f)
			if err != nil {
				return err
			}
			if report.Other > 0 {
				p.note("%d of %d dead letters died of other causes; --limit shows more of them, up to %d", report.Other, report.Letters, relay.MaxCauses)
			}
			return list(out, report.Causes, causeListing())
		})
	}
	return c
}

func causeListing() listing[relay.Cause] {
	return listing[relay.Cause]{name: func(c relay.Cause) string { return c.Example }, columns: []column[relay.Cause]{
		{header: "COUNT", cell: func(c relay.Cause) any { return c.Count }},
		{header: "ROUTE", cell: func(c relay.Cause) any { return c.Route }},
		{header: "REASON", cell: func(c relay.Cause) any { return colored{c.Reason, red} }},
		{header: "STATUS", cell: func(c relay.Cause) any { return c.Status }},
		{header: "FIRST", cell: func(c relay.Cause) any { return when(&c.First) }},
		{header: "LAST", cell: func(c relay.Cause) any { return when(&c.Last) }},
		{header: "EXAMPLE", cell: func(c relay.Cause) any { return c.Example }},
		{header: "TEXT", cell: func(c relay.Cause) any { return orDash(c.Text) }},
	}}
}

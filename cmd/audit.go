package cmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

func auditCommand(p *program) *cobra.Command {
	c := &cobra.Command{Use: "audit", Short: "Prove that the ledger balances, or name what breaks it", Args: noArgs,
		Long: "Adds up what is stored anew: accepted = pending + delivered + dead + superseded + cancelled + discarded + duplicate.\n" +
			"Exits with 1 when a queue does not balance.", Example: "  foreman-relay audit --queue default/foreman"}
	queue := queueFlag(p, c)
	operatorFlags(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		only, err := queue()
		if err != nil {
			return err
		}
		return p.ask(c, func(ctx context.Context, o *handlers.Client, out *printer) error {
			reports, err := o.Audit(ctx, only)
			if err != nil {
				return err
			}
			return printAudit(out, reports)
		})
	}
	return c
}

func printAudit(out *printer, reports []relay.AuditReport) error {
	if err := list(out, reports, auditListing()); err != nil {
		return err
	}
	balanced := true
	for _, r := range reports {
		balanced = balanced && r.Balanced
		for _, f := range r.Findings {
			if out.tabular() {
				_, _ = fmt.Fprintf(out.w, "%s/%s sequence %d %s: %s\n", r.Organization, r.Destination, f.Sequence, f.ID, f.What) // told by the exit code
			}
		}
	}
	if !balanced {
		return silentError{exitFailure}
	}
	return nil
}

func auditListing() listing[relay.AuditReport] {
	name := func(r relay.AuditReport) string { return r.Organization + "/" + r.Destination }
	total := func(s relay.State) func(relay.AuditReport) any {
		return func(r relay.AuditReport) any { return r.Totals[s] }
	}
	return listing[relay.AuditReport]{name: name, columns: []column[relay.AuditReport]{
		{header: "QUEUE", cell: func(r relay.AuditReport) any { return name(r) }},
		{header: "BALANCED", cell: balancedCell},
		{header: "ACCEPTED", cell: func(r relay.AuditReport) any { return r.Accepted }},
		{header: "PENDING", cell: func(r relay.AuditReport) any { return r.Pending }},
		{header: "DELIVERED", cell: total(relay.Delivered)},
		{header: "DEAD", cell: total(relay.Dead)},
		{header: "SUPERSEDED", cell: total(relay.Superseded)},
		{header: "CANCELLED", cell: total(relay.Cancelled)},
		{header: "DISCARDED", cell: total(relay.Discarded)},
		{header: "DUPLICATE", cell: total(relay.Duplicate)},
		{header: "EVENTS", cell: func(r relay.AuditReport) any { return r.EventsRead }},
		{header: "TWICE", cell: func(r relay.AuditReport) any { return r.SettledTwice }, wide: true},
	}}
}

func balancedCell(r relay.AuditReport) any {
	if !r.Balanced {
		return colored{r.Balanced, red}
	}
	return r.Balanced
}

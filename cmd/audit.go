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
	queue := c.Flags().String("queue", "", "only this `QUEUE`, ORGANIZATION/DESTINATION")
	operatorFlags(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		var only *relay.Queue
		if *queue != "" {
			q, err := parseQueueArg(*queue)
			if err != nil {
				return err
			}
			only = &q
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
	err := list(out, reports, "QUEUE BALANCED ACCEPTED PENDING DELIVERED DEAD SUPERSEDED CANCELLED DISCARDED DUPLICATE EVENTS",
		func(r relay.AuditReport) string { return r.Organization + "/" + r.Destination }, func(r relay.AuditReport) []any {
			t := r.Totals
			return []any{r.Organization + "/" + r.Destination, r.Balanced, r.Accepted, r.Pending, t[relay.Delivered], t[relay.Dead],
				t[relay.Superseded], t[relay.Cancelled], t[relay.Discarded], t[relay.Duplicate], r.EventsRead}
		})
	if err != nil {
		return err
	}
	balanced := true
	for _, r := range reports {
		balanced = balanced && r.Balanced
		for _, f := range r.Findings {
			if !out.json {
				_, _ = fmt.Fprintf(out.w, "%s/%s sequence %d %s: %s\n", r.Organization, r.Destination, f.Sequence, f.ID, f.What) // told by the exit code
			}
		}
	}
	if !balanced {
		return silentError{exitFailure}
	}
	return nil
}

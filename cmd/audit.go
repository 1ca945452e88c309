package cmd

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

func auditCommand(p *program) *cobra.Command {
	c := &cobra.Command{Use: "audit", Short: "Prove that the ledger balances, or name what breaks it", Args: noArgs,
		Long: "Adds up what is stored anew: accepted = pending + delivered + dead + superseded + cancelled + discarded + duplicate.\n" +
			"Exits with 1 when a queue does not balance. Notes, as of what may have been delivered twice after a power cut, are no failure.\n" +
			"With --since it trusts what an earlier audit has proved of the time before, where one has; else it proves everything.",
		Example: "  foreman-relay audit --queue default/foreman\n  foreman-relay audit --since 1h"}
	queue, since := queueFlag(p, c), sinceFlag(c, "what happened")
	operatorFlags(c)
	unhurried(c, auditTimeout)
	c.RunE = func(c *cobra.Command, _ []string) error {
		only, err := queue()
		if err != nil {
			return err
		}
		from, err := since()
		if err != nil {
			return err
		}
		return p.ask(c, func(ctx context.Context, o *handlers.Client, out *printer) error {
			reports, err := o.Audit(ctx, relay.AuditOptions{Queue: only, Since: from})
			if err != nil {
				return err
			}
			return printAudit(out, reports)
		})
	}
	return c
}

// auditTimeout is the default of --timeout: as long as the relay may take to
// answer.
const auditTimeout = 2 * time.Minute

// maxPrintedNotes bounds the notes of one queue in a table; -o json has more.
const maxPrintedNotes = 20

func printAudit(out *printer, reports []relay.AuditReport) error {
	if err := list(out, reports, auditListing()); err != nil {
		return err
	}
	balanced := true
	for _, r := range reports {
		balanced = balanced && r.Balanced
		if out.tabular() {
			printNamed(out, r)
		}
	}
	if !balanced {
		return silentError{exitFailure}
	}
	return nil
}

// printNamed names what breaks a ledger, then what else there is to know; the
// exit code tells of the first too.
func printNamed(out *printer, r relay.AuditReport) {
	for _, f := range r.Findings {
		_, _ = fmt.Fprintf(out.w, "%s/%s sequence %d %s: %s\n", r.Organization, r.Destination, f.Sequence, f.ID, f.What)
	}
	for i, f := range r.Notes {
		if i == maxPrintedNotes {
			_, _ = fmt.Fprintf(out.w, "%s/%s: %d more notes, see --output json\n", r.Organization, r.Destination, len(r.Notes)-i)
			break
		}
		_, _ = fmt.Fprintf(out.w, "%s/%s note: sequence %d %s: %s\n", r.Organization, r.Destination, f.Sequence, f.ID, f.What)
	}
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
		{header: "REFUSED", cell: func(r relay.AuditReport) any { return r.Refused }, wide: true},
		{header: "IN DOUBT", cell: func(r relay.AuditReport) any { return r.InDoubt }, wide: true},
		{header: "MESSAGES", cell: func(r relay.AuditReport) any { return r.MessagesRead }, wide: true},
		{header: "TRUSTED UNTIL", cell: func(r relay.AuditReport) any { return when(r.Trusted) }, wide: true},
	}}
}

func balancedCell(r relay.AuditReport) any {
	if !r.Balanced {
		return colored{r.Balanced, red}
	}
	return r.Balanced
}

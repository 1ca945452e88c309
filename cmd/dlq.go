package cmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

func dlqCommand(p *program) *cobra.Command {
	verbs := []*cobra.Command{dlqList(p), dlqTop(p), dlqShow(p), dlqReplay(p), dlqDiscard(p), dlqExport(p), dlqImport(p)}
	for _, v := range verbs {
		operatorFlags(v)
	}
	return noun("dlq", "See, replay, discard and move dead letters", verbs...)
}

func dlqList(p *program) *cobra.Command {
	c := &cobra.Command{Use: "ls", Short: "List dead letters, oldest first", Args: noArgs,
		Example: "  foreman-relay dlq ls --queue default/foreman --where 'reason=rejected,detail~Hostname'"}
	flags := newLetterFlags(p, c, limitFlag(c, relay.DefaultDeadLetterLimit))
	c.RunE = func(c *cobra.Command, _ []string) error {
		f, err := flags.filter()
		if err != nil {
			return err
		}
		return p.ask(c, func(ctx context.Context, o *handlers.Client, out *printer) error {
			letters, err := o.DeadLetters(ctx, f)
			if err != nil {
				return err
			}
			return list(out, letters, letterListing())
		})
	}
	return c
}

func letterListing() listing[relay.DeadLetter] {
	return listing[relay.DeadLetter]{name: func(l relay.DeadLetter) string { return l.ID }, columns: []column[relay.DeadLetter]{
		{header: "ID", cell: func(l relay.DeadLetter) any { return l.ID }},
		{header: "QUEUE", cell: func(l relay.DeadLetter) any { return l.Organization + "/" + l.Destination }},
		{header: "ROUTE", cell: func(l relay.DeadLetter) any { return l.Route }},
		{header: "HOST", cell: func(l relay.DeadLetter) any { return orDash(l.Lane) }},
		{header: "DIED", cell: func(l relay.DeadLetter) any { return when(&l.DiedAt) }},
		{header: "REASON", cell: func(l relay.DeadLetter) any { return colored{l.Reason, red} }},
		{header: "ATTEMPTS", cell: func(l relay.DeadLetter) any { return l.Attempts }},
		{header: "STATUS", cell: func(l relay.DeadLetter) any { return l.Status }},
		{header: "ACCEPTED", cell: func(l relay.DeadLetter) any { return when(&l.AcceptedAt) }, wide: true},
		{header: "BYTES", cell: func(l relay.DeadLetter) any { return l.Bytes }, wide: true},
		{header: "PATH", cell: func(l relay.DeadLetter) any { return orDash(l.Path) }, wide: true},
		{header: "DETAIL", cell: func(l relay.DeadLetter) any { return l.Detail }},
	}}
}

func dlqShow(p *program) *cobra.Command {
	c := &cobra.Command{Use: "show ID", Short: "Show one dead letter", Args: takes(1, "one message id"), Example: "  foreman-relay dlq show ID --body > report.json",
		ValidArgsFunction: onlyFirst(p.completeLetters)}
	body := c.Flags().Bool("body", false, "print the body alone, as it was accepted")
	c.RunE = func(c *cobra.Command, args []string) error {
		return p.ask(c, func(ctx context.Context, o *handlers.Client, out *printer) error {
			l, err := o.DeadLetter(ctx, args[0])
			if err != nil {
				return err
			}
			if *body {
				return printLetterBody(ctx, o, out, l)
			}
			return printLetter(out, l)
		})
	}
	return c
}

// printLetterBody prints a body whole; an answer about a letter has no more of a
// large one than its beginning.
func printLetterBody(ctx context.Context, o *handlers.Client, out *printer, l relay.DeadLetter) error {
	content := l.Body
	if l.BodyCut {
		whole, err := o.ExportDeadLetter(ctx, l.ID)
		if err != nil {
			return err
		}
		content = whole.Body()
	}
	_, err := out.w.Write(content)
	return err
}

func printLetter(out *printer, l relay.DeadLetter) error {
	err := fields(out, l, l.ID, "id", l.ID, "queue", l.Organization+"/"+l.Destination, "route", l.Route, "path", l.Path, "host", l.Lane,
		"key", fmt.Sprintf("%q", l.Key), "accepted", when(&l.AcceptedAt), "died", when(&l.DiedAt), "reason", colored{l.Reason, red},
		"attempts", l.Attempts, "last status", l.Status, "last answer", l.Detail, "replayed from", l.ReplayedFrom, "sender", l.Sender, "bytes", l.Bytes, "type", l.ContentType,
		"earlier events", dropped(l.History))
	if err != nil || !out.tabular() || l.History == nil {
		return err
	}
	return list(out, l.History.Events, eventListing())
}

// dropped says how many events a history has lost.
func dropped(h *relay.History) string {
	if h == nil || h.Dropped == 0 {
		return ""
	}
	return fmt.Sprintf("%d, no longer kept", h.Dropped)
}

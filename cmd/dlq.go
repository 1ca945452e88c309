package cmd

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/spf13/cobra"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

func dlqCommand(p *program) *cobra.Command {
	verbs := []*cobra.Command{dlqList(p), dlqShow(p), dlqReplay(p), dlqDiscard(p)}
	for _, v := range verbs {
		operatorFlags(v)
	}
	return noun("dlq", "See, replay and discard dead letters", verbs...)
}

func dlqList(p *program) *cobra.Command {
	c := &cobra.Command{Use: "ls", Short: "List dead letters, oldest first", Args: noArgs, Example: "  foreman-relay dlq ls --queue default/foreman"}
	queue := c.Flags().String("queue", "", "only of this `QUEUE`, ORGANIZATION/DESTINATION")
	limit := c.Flags().Int("limit", relay.DefaultDeadLetterLimit, "at most `N`")
	c.RunE = func(c *cobra.Command, _ []string) error {
		f := relay.DeadLetterFilter{Limit: *limit}
		if *limit < 1 {
			return usage(fmt.Errorf("--limit is %d; it must be at least 1", *limit))
		}
		if *queue != "" {
			q, err := parseQueueArg(*queue)
			if err != nil {
				return err
			}
			f.Queue = &q
		}
		return p.ask(c, func(ctx context.Context, o *handlers.Client, out *printer) error {
			letters, err := o.DeadLetters(ctx, f)
			if err != nil {
				return err
			}
			return list(out, letters, "ID QUEUE ROUTE HOST DIED REASON ATTEMPTS STATUS DETAIL", func(l relay.DeadLetter) string { return l.ID },
				func(l relay.DeadLetter) []any {
					return []any{l.ID, l.Organization + "/" + l.Destination, l.Route, orDash(l.Lane), when(&l.DiedAt), l.Reason, l.Attempts, l.Status, l.Detail}
				})
		})
	}
	return c
}

func dlqShow(p *program) *cobra.Command {
	c := &cobra.Command{Use: "show ID", Short: "Show one dead letter", Args: takes(1, "one message id"), Example: "  foreman-relay dlq show ID --body > report.json"}
	body := c.Flags().Bool("body", false, "print the body alone, as it was accepted")
	c.RunE = func(c *cobra.Command, args []string) error {
		return p.ask(c, func(ctx context.Context, o *handlers.Client, out *printer) error {
			l, err := o.DeadLetter(ctx, args[0])
			if err != nil {
				return err
			}
			if *body {
				_, err := out.w.Write(l.Body)
				return err
			}
			return out.fields(l, "id", l.ID, "queue", l.Organization+"/"+l.Destination, "route", l.Route, "path", l.Path, "host", l.Lane,
				"key", fmt.Sprintf("%q", l.Key), "accepted", when(&l.AcceptedAt), "died", when(&l.DiedAt), "reason", l.Reason, "attempts", l.Attempts,
				"status", l.Status, "detail", l.Detail, "replayed from", l.ReplayedFrom, "bytes", l.Bytes, "type", l.ContentType)
		})
	}
	return c
}

func dlqReplay(p *program) *cobra.Command {
	c := &cobra.Command{Use: "replay ID...", Short: "Accept dead letters again, as new messages that supersede them",
		Args: takes(math.MaxInt, "message ids"), Example: "  foreman-relay dlq replay $(foreman-relay dlq ls -q)"}
	c.RunE = func(c *cobra.Command, args []string) error {
		return p.ask(c, func(ctx context.Context, o *handlers.Client, out *printer) error {
			var receipts []relay.Receipt
			err := eachID(args, p.stderr, func(id string) error {
				r, err := o.Replay(ctx, id)
				if err == nil {
					receipts = append(receipts, r)
				}
				return err
			})
			if err != nil && len(receipts) == 0 {
				return err
			}
			return errors.Join(list(out, receipts, "ID QUEUE STATE", func(r relay.Receipt) string { return r.ID },
				func(r relay.Receipt) []any { return []any{r.ID, r.Queue, r.State} }), err)
		})
	}
	return c
}

func dlqDiscard(p *program) *cobra.Command {
	c := &cobra.Command{Use: "discard ID...", Short: "Remove dead letters for good", Args: takes(math.MaxInt, "message ids"),
		Example: "  foreman-relay dlq discard ID --yes"}
	yes := c.Flags().Bool("yes", false, "really: a discarded letter cannot be brought back")
	c.RunE = func(c *cobra.Command, args []string) error {
		if !*yes {
			return usage(fmt.Errorf("discarding %d dead letters cannot be undone; add --yes", len(args)))
		}
		return p.ask(c, func(ctx context.Context, o *handlers.Client, _ *printer) error {
			return eachID(args, p.stderr, func(id string) error { return o.Discard(ctx, id) })
		})
	}
	return c
}

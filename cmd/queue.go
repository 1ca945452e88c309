package cmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

func queueCommand(p *program) *cobra.Command {
	ls := &cobra.Command{Use: "ls", Short: "List the queues and how their messages stand", Args: noArgs,
		Example: "  foreman-relay queue ls -o json"}
	ls.RunE = func(c *cobra.Command, _ []string) error {
		return p.ask(c, func(ctx context.Context, o *handlers.Client, out *printer) error {
			all, err := o.Queues(ctx)
			if err != nil {
				return err
			}
			return list(out, all, "QUEUE ACCEPTED PENDING DELIVERING WAITING DELIVERED DEAD OLDEST BREAKER DRAIN", queueName, func(s relay.QueueStatus) []any {
				return []any{queueName(s), s.Accepted, s.Pending, s.Delivering, s.Waiting, s.Delivered, s.Dead, age(s.OldestAgeSeconds), s.Breaker, orDash(s.Drain)}
			})
		})
	}
	show := &cobra.Command{Use: "show ORGANIZATION/DESTINATION", Short: "Show one queue", Args: takes(1, "one queue, as ORGANIZATION/DESTINATION"),
		Example: "  foreman-relay queue show default/foreman"}
	show.RunE = func(c *cobra.Command, args []string) error {
		q, err := parseQueueArg(args[0])
		if err != nil {
			return err
		}
		return p.ask(c, func(ctx context.Context, o *handlers.Client, out *printer) error {
			s, err := o.Queue(ctx, q)
			if err != nil {
				return err
			}
			return out.fields(s, "queue", queueName(s), "accepted", s.Accepted, "pending", s.Pending, "delivering", s.Delivering,
				"waiting", s.Waiting, "scheduled", s.Scheduled, "delivered", s.Delivered, "dead", s.Dead, "superseded", s.Superseded,
				"cancelled", s.Cancelled, "discarded", s.Discarded, "duplicate", s.Duplicate, "oldest pending", age(s.OldestAgeSeconds),
				"journal", fmt.Sprintf("%d of %s", s.Bytes, ByteSize(s.QuotaBytes)),
				"breaker", s.Breaker, "drain", orDash(s.Drain), "epoch", s.Epoch, "floor", s.Floor)
		})
	}
	operatorFlags(ls)
	operatorFlags(show)
	return noun("queue", "See the queues", ls, show)
}

func queueName(s relay.QueueStatus) string { return s.Organization + "/" + s.Destination }

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

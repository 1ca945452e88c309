package cmd

import (
	"cmp"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

func queueCommand(p *program) *cobra.Command {
	verbs := []*cobra.Command{queueList(p), queueShow(p), queuePeek(p), queueWatch(p), queuePause(p), queueResume(p), queuePurge(p)}
	for _, v := range verbs {
		operatorFlags(v)
	}
	return noun("queue", "See, pause, resume and purge the queues", verbs...)
}

func queueList(p *program) *cobra.Command {
	c := &cobra.Command{Use: "ls", Short: "List the queues and how their messages stand", Args: noArgs,
		Example: "  foreman-relay queue ls -o json"}
	watch := c.Flags().BoolP("watch", "w", false, "list again and again until interrupted, as `queue watch`")
	interval := intervalFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *watch {
			return p.watchQueues(c, *interval, nil)
		}
		return p.ask(c, func(ctx context.Context, o *handlers.Client, out *printer) error {
			all, err := o.Queues(ctx)
			if err != nil {
				return err
			}
			return list(out, all, queueListing())
		})
	}
	return c
}

func queueShow(p *program) *cobra.Command {
	c := &cobra.Command{Use: "show ORGANIZATION/DESTINATION", Short: "Show one queue", Args: takes(1, "one queue, as ORGANIZATION/DESTINATION"),
		Example: "  foreman-relay queue show default/foreman", ValidArgsFunction: onlyFirst(p.completeQueues)}
	c.RunE = p.withQueue(func(ctx context.Context, o *handlers.Client, out *printer, q relay.Queue) error {
		s, err := o.Queue(ctx, q)
		if err != nil {
			return err
		}
		return printQueue(out, s)
	})
	return c
}

func queuePeek(p *program) *cobra.Command {
	c := &cobra.Command{Use: "peek ORGANIZATION/DESTINATION", Short: "List the next pending messages in journal order, without changing anything",
		Args: takes(1, "one queue, as ORGANIZATION/DESTINATION"), Example: "  foreman-relay queue peek default/foreman --limit 3 --body",
		ValidArgsFunction: onlyFirst(p.completeQueues)}
	limit := limitFlag(c, relay.DefaultPeekLimit)
	body := c.Flags().Bool("body", false, "the bodies too: below each row of a table, base64 elsewhere")
	c.RunE = p.withQueue(func(ctx context.Context, o *handlers.Client, out *printer, q relay.Queue) error {
		n, err := limit()
		if err != nil {
			return err
		}
		found, err := o.Peek(ctx, q, relay.PeekOptions{Limit: n, Body: *body})
		if err != nil {
			return err
		}
		p.noteIncomplete(found)
		if *body && out.tabular() {
			for _, m := range found.Messages {
				p.noteCut(m.BodyCut, m.ID, m.Bytes)
			}
			return printBodies(out, found.Messages)
		}
		return list(out, found.Messages, messageListing())
	})
	return c
}

// noteCut says that no more than the beginning of a body is shown.
func (p *program) noteCut(cut bool, id string, bytes int) {
	if cut {
		p.note("%s: the body has %d bytes; the first %d of them are shown", id, bytes, min(bytes, relay.MaxExcerpt))
	}
}

// printBodies prints each message and, below it, its body as it was accepted.
func printBodies(out *printer, messages []relay.MessageSummary) error {
	for _, m := range messages {
		if err := list(out, []relay.MessageSummary{m}, messageListing()); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out.w, "%s\n\n", m.Body); err != nil {
			return err
		}
	}
	return nil
}

func queuePause(p *program) *cobra.Command {
	c := &cobra.Command{Use: "pause ORGANIZATION/DESTINATION", Short: "Stop delivering from a queue until it is resumed; it goes on accepting",
		Args: takes(1, "one queue, as ORGANIZATION/DESTINATION"), Example: "  foreman-relay queue pause default/foreman --reason 'upgrade of Foreman'",
		ValidArgsFunction: onlyFirst(p.completeQueues),
		Long: "Stop delivering from a queue until it is resumed, through every restart of edge and drain. It goes on accepting. No attempt is begun;\n" +
			"those under way end as they will. Messages grow older meanwhile, and what passes its maximum age, or expires, becomes a dead letter while the queue is paused."}
	reason := c.Flags().String("reason", "", "why, a `TEXT` that `queue show` and `message why` tell others")
	c.RunE = p.withQueue(func(ctx context.Context, o *handlers.Client, out *printer, q relay.Queue) error {
		if err := o.Pause(ctx, q, p.operator(), *reason); err != nil {
			return err
		}
		return p.tellQueue(ctx, o, out, q, "is paused: it accepts, and nothing is delivered from it")
	})
	return c
}

func queueResume(p *program) *cobra.Command {
	c := &cobra.Command{Use: "resume ORGANIZATION/DESTINATION", Short: "Deliver from a paused queue again", Args: takes(1, "one queue, as ORGANIZATION/DESTINATION"),
		Example: "  foreman-relay queue resume default/foreman", ValidArgsFunction: onlyFirst(p.completeQueues)}
	c.RunE = p.withQueue(func(ctx context.Context, o *handlers.Client, out *printer, q relay.Queue) error {
		if err := o.Resume(ctx, q); err != nil {
			return err
		}
		return p.tellQueue(ctx, o, out, q, "is not paused")
	})
	return c
}

// tellQueue says what was done, and prints how the queue stands now.
func (p *program) tellQueue(ctx context.Context, o *handlers.Client, out *printer, q relay.Queue, done string) error {
	p.note("%s %s", q, done)
	s, err := o.Queue(ctx, q)
	if err != nil {
		return err
	}
	return list(out, []relay.QueueStatus{s}, queueListing())
}

// operator is who calls, as the environment says.
func (p *program) operator() string {
	env := variable(p.env)
	for _, name := range []string{"SUDO_USER", "USER", "LOGNAME"} {
		if who := env(name); who != "" {
			return who
		}
	}
	return ""
}

// withQueue runs a command whose one argument is a queue.
func (p *program) withQueue(f func(ctx context.Context, o *handlers.Client, out *printer, q relay.Queue) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		q, err := parseQueueArg(args[0])
		if err != nil {
			return err
		}
		return p.ask(c, func(ctx context.Context, o *handlers.Client, out *printer) error { return f(ctx, o, out, q) })
	}
}

func queueListing() listing[relay.QueueStatus] {
	count := func(f func(relay.QueueStatus) uint64) func(relay.QueueStatus) any {
		return func(s relay.QueueStatus) any { return f(s) }
	}
	return listing[relay.QueueStatus]{name: queueName, columns: []column[relay.QueueStatus]{
		{header: "QUEUE", cell: func(s relay.QueueStatus) any { return queueName(s) }},
		{header: "ACCEPTED", cell: count(func(s relay.QueueStatus) uint64 { return s.Accepted })},
		{header: "PENDING", cell: count(func(s relay.QueueStatus) uint64 { return s.Pending })},
		{header: "DELIVERING", cell: count(func(s relay.QueueStatus) uint64 { return s.Delivering })},
		{header: "WAITING", cell: count(func(s relay.QueueStatus) uint64 { return s.Waiting })},
		{header: "SCHEDULED", cell: count(func(s relay.QueueStatus) uint64 { return s.Scheduled }), wide: true},
		{header: "DELIVERED", cell: count(func(s relay.QueueStatus) uint64 { return s.Delivered })},
		{header: "DEAD", cell: func(s relay.QueueStatus) any { return countCell(s.Dead) }},
		{header: "SUPERSEDED", cell: count(func(s relay.QueueStatus) uint64 { return s.Superseded }), wide: true},
		{header: "CANCELLED", cell: count(func(s relay.QueueStatus) uint64 { return s.Cancelled }), wide: true},
		{header: "DISCARDED", cell: count(func(s relay.QueueStatus) uint64 { return s.Discarded }), wide: true},
		{header: "DUPLICATE", cell: count(func(s relay.QueueStatus) uint64 { return s.Duplicate }), wide: true},
		{header: "OLDEST", cell: func(s relay.QueueStatus) any { return age(s.OldestAgeSeconds) }},
		{header: "BYTES", cell: count(func(s relay.QueueStatus) uint64 { return s.Bytes }), wide: true},
		{header: "PAUSED", cell: func(s relay.QueueStatus) any { return pausedCell(s.Paused) }},
		{header: "BREAKER", cell: func(s relay.QueueStatus) any { return breakerCell(s.Breaker) }},
		{header: "DRAIN", cell: func(s relay.QueueStatus) any { return orDash(s.Drain) }},
		{header: "BECAUSE", cell: func(s relay.QueueStatus) any { return orDash(cmp.Or(s.BreakerReason, s.HeldText())) }, wide: true},
	}}
}

func printQueue(out *printer, s relay.QueueStatus) error {
	pause := relay.Pause{}
	if s.Pause != nil {
		pause = *s.Pause
	}
	return fields(out, s, queueName(s), "queue", queueName(s), "accepted", s.Accepted, "pending", s.Pending, "delivering", s.Delivering,
		"waiting", s.Waiting, "retries held", s.RetriesHeld, "scheduled", s.Scheduled, "delivered", s.Delivered, "dead", countCell(s.Dead), "superseded", s.Superseded,
		"cancelled", s.Cancelled, "discarded", s.Discarded, "duplicate", s.Duplicate, "oldest pending", age(s.OldestAgeSeconds),
		"journal", fmt.Sprintf("%d of %s", s.Bytes, ByteSize(s.QuotaBytes)),
		"paused", pausedCell(s.Paused), "paused by", pause.By, "paused at", when(&pause.At), "paused because", pause.Reason,
		"breaker", breakerCell(s.Breaker), "not closed since", when(s.BreakerSince), "not closed because", s.BreakerReason, "next one waits because", s.HeldText(),
		"drain", orDash(s.Drain), "epoch", s.Epoch, "floor", s.Floor)
}

func queueName(s relay.QueueStatus) string { return s.Queue().String() }

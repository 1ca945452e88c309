package cmd

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

func messageCancel(p *program) *cobra.Command {
	c := &cobra.Command{Use: "cancel ID...", Short: "Take pending messages back: they are not delivered any more", Args: takes(1000, "message ids"),
		Example: "  foreman-relay message cancel ID", ValidArgsFunction: p.completeMessages,
		Long: "Take pending messages back: they are not delivered any more, and keep no dead letter. One that is being delivered at this moment, or is\n" +
			"settled, is left as it is (exit code 6; 7 where others were cancelled)."}
	c.RunE = func(c *cobra.Command, ids []string) error {
		return p.ask(c, func(ctx context.Context, o *handlers.Client, _ *printer) error {
			return eachID(ids, p.stderr, func(id string) error {
				err := o.Cancel(ctx, id)
				if err == nil {
					p.note("%s is cancelled", id)
				}
				return err
			})
		})
	}
	return c
}

// Pauses between two looks at a message that is waited for.
const (
	firstLook = 100 * time.Millisecond
	lastLook  = 2 * time.Second
)

func messageWait(p *program) *cobra.Command {
	c := &cobra.Command{Use: "wait ID", Short: "Wait until a message is settled, and print where it stands", Args: takes(1, "one message id"),
		Example: "  foreman-relay message wait ID --for 10m && echo delivered", ValidArgsFunction: onlyFirst(p.completeMessages),
		Long: "Wait until a message is settled, and print where it stands. Exit code 0: it is delivered; 8: it ended otherwise; 5: it is pending still.\n" +
			"A message that was replaced by another one is followed to that one."}
	most := c.Flags().Duration("for", 5*time.Minute, "wait no longer than this `DURATION`")
	c.RunE = func(c *cobra.Command, args []string) error {
		if *most <= 0 {
			return usage(fmt.Errorf("--for is %s; it must be more than nothing", *most))
		}
		return p.ask(c, func(ctx context.Context, o *handlers.Client, out *printer) error {
			s, err := p.await(ctx, o, args[0], *most)
			if err != nil {
				return err
			}
			if err := printMessage(out, s); err != nil || s.State == relay.Delivered {
				return err
			}
			return silentError{exitNotSent}
		})
	}
	return c
}

// await looks again and again, less and less often. A relay that does not answer
// may be starting again: it is asked until the time is over.
func (p *program) await(ctx context.Context, o *handlers.Client, id string, most time.Duration) (relay.MessageStatus, error) {
	deadline := time.Now().Add(most)
	for pause := firstLook; ; pause = min(2*pause, lastLook) {
		s, err := o.Message(ctx, id)
		switch {
		case err != nil && relay.CodeOf(err) != relay.CodeUnavailable:
			return s, err
		case err == nil && s.State == relay.Superseded && s.ReplacedBy != "":
			p.note("%s was replaced by %s", id, s.ReplacedBy)
			id, pause = s.ReplacedBy, firstLook
			continue
		case err == nil && s.State.Settled():
			return s, nil
		case time.Now().Add(pause).After(deadline):
			if err == nil {
				err = &relay.Error{Code: relay.CodeTimeout, Detail: fmt.Sprintf("message %s is %s still after %s; see `message why`", id, s.State, most)}
			}
			return s, err
		}
		select {
		case <-ctx.Done():
			return s, &relay.Error{Code: relay.CodeUnavailable, Detail: "waiting was interrupted", Err: ctx.Err()}
		case <-time.After(pause):
		}
	}
}

func queuePurge(p *program) *cobra.Command {
	c := &cobra.Command{Use: "purge ORGANIZATION/DESTINATION", Short: "Discard the pending messages of a queue, or those that a filter chooses",
		Args: takes(1, "one queue, as ORGANIZATION/DESTINATION"), ValidArgsFunction: onlyFirst(p.completeQueues),
		Example: "  foreman-relay queue purge default/foreman --route facts --older-than 2d --dry-run\n  foreman-relay queue purge default/foreman --route facts --older-than 2d --yes",
		Long: fmt.Sprintf("Discard the pending messages of a queue, or those that a filter chooses, for good: no dead letter is kept. It is done %d at a time; delivery\n"+
			"rests meanwhile. What is being delivered at that moment is left alone. Interrupted, it has done a part: the same call again goes on.", relay.WithdrawBatch)}
	f := c.Flags()
	route, host := f.String("route", "", "only of this `ROUTE`"), f.String("host", "", "only of this `HOST` (ordering key)")
	older := f.String("older-than", "", "only accepted before this `TIME`: an age like 90m, 12h or 7d, or a time like 2026-11-24T08:00:00Z")
	dryRun, yes := f.Bool("dry-run", false, "change nothing: say how many there are"), f.Bool("yes", false, "really")
	c.RunE = p.withQueue(func(ctx context.Context, o *handlers.Client, _ *printer, q relay.Queue) error {
		filter := relay.PurgeFilter{Route: *route, Host: *host, DryRun: *dryRun}
		if *older != "" {
			var err error
			if filter.Before, err = parseTime("older-than", *older, time.Now()); err != nil {
				return err
			}
		}
		if !*yes && !*dryRun {
			return usage(fmt.Errorf("purging %s cannot be undone: add --yes, or see first how many there are with --dry-run", q))
		}
		return p.purge(ctx, o, q, filter)
	})
	return c
}

// purge goes on until nothing is left, and says in any case what was done.
func (p *program) purge(ctx context.Context, o *handlers.Client, q relay.Queue, f relay.PurgeFilter) error {
	var all relay.Purged
	for {
		done, err := o.Purge(ctx, q, f)
		all.Discarded, all.Underway = all.Discarded+done.Discarded, all.Underway+done.Underway
		if err != nil {
			if all.Discarded > 0 {
				p.note("%d messages of %s were discarded before this failed; the same call again goes on", all.Discarded, q)
			}
			return err
		}
		if done.Next == 0 {
			break
		}
		f.From = done.Next
		if !f.DryRun {
			p.note("%d messages of %s are discarded; going on", all.Discarded, q)
		}
	}
	did := "are discarded"
	if f.DryRun {
		did = "would be discarded; nothing is changed"
	}
	p.note("%d messages of %s %s", all.Discarded, q, did)
	if all.Underway > 0 {
		p.note("%d were being delivered and are left alone; see what comes of them with `message ls`", all.Underway)
		return silentError{exitPartly}
	}
	return nil
}

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
	c := &cobra.Command{Use: "ls", Short: "List dead letters, oldest first", Args: noArgs,
		Example: "  foreman-relay dlq ls --queue default/foreman --where 'reason=rejected,detail~Hostname'"}
	flags := newLetterFlags(p, c)
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
	body := c.Flags().Bool("body", false, "print the body alone, as it was accepted; of one above 1 MiB the beginning")
	c.RunE = func(c *cobra.Command, args []string) error {
		return p.ask(c, func(ctx context.Context, o *handlers.Client, out *printer) error {
			l, err := o.DeadLetter(ctx, args[0])
			if err != nil {
				return err
			}
			if *body {
				p.noteCut(l.BodyCut, l.ID, l.Bytes)
				_, err := out.w.Write(l.Body)
				return err
			}
			return fields(out, l, l.ID, "id", l.ID, "queue", l.Organization+"/"+l.Destination, "route", l.Route, "path", l.Path, "host", l.Lane,
				"key", fmt.Sprintf("%q", l.Key), "accepted", when(&l.AcceptedAt), "died", when(&l.DiedAt), "reason", colored{l.Reason, red},
				"attempts", l.Attempts, "status", l.Status, "detail", l.Detail, "replayed from", l.ReplayedFrom, "bytes", l.Bytes, "type", l.ContentType)
		})
	}
	return c
}

func dlqReplay(p *program) *cobra.Command {
	c := &cobra.Command{Use: "replay ID...", Short: "Accept dead letters again, as new messages that supersede them",
		Example: "  foreman-relay dlq replay ID\n  foreman-relay dlq replay --reason max_attempts --since 2d --dry-run\n  foreman-relay dlq replay --reason max_attempts --since 2d --yes"}
	return lettersCommand(p, c, lettersVerb{
		needsYes: func(ids bool) bool { return !ids }, does: "replaying",
		run: func(ctx context.Context, o *handlers.Client, out *printer, ids []string) error {
			var receipts []relay.Receipt
			err := eachID(ids, p.stderr, func(id string) error {
				r, err := o.Replay(ctx, id)
				if err == nil {
					receipts = append(receipts, r)
				}
				return err
			})
			if err != nil && len(receipts) == 0 {
				return err
			}
			return errors.Join(list(out, receipts, receiptListing()), err)
		}})
}

func receiptListing() listing[relay.Receipt] {
	return listing[relay.Receipt]{name: func(r relay.Receipt) string { return r.ID }, columns: []column[relay.Receipt]{
		{header: "ID", cell: func(r relay.Receipt) any { return r.ID }},
		{header: "QUEUE", cell: func(r relay.Receipt) any { return r.Queue }},
		{header: "STATE", cell: func(r relay.Receipt) any { return r.State }},
		{header: "DURABILITY", cell: func(r relay.Receipt) any { return r.Durability }, wide: true},
	}}
}

func dlqDiscard(p *program) *cobra.Command {
	c := &cobra.Command{Use: "discard ID...", Short: "Remove dead letters for good",
		Example: "  foreman-relay dlq discard ID --yes\n  foreman-relay dlq discard --route facts --since 7d --dry-run"}
	return lettersCommand(p, c, lettersVerb{
		needsYes: func(bool) bool { return true }, does: "discarding",
		run: func(ctx context.Context, o *handlers.Client, _ *printer, ids []string) error {
			return eachID(ids, p.stderr, func(id string) error { return o.Discard(ctx, id) })
		}})
}

// lettersVerb does something to dead letters, named by id or chosen by a filter.
type lettersVerb struct {
	does     string
	needsYes func(byID bool) bool
	run      func(ctx context.Context, o *handlers.Client, out *printer, ids []string) error
}

func lettersCommand(p *program, c *cobra.Command, v lettersVerb) *cobra.Command {
	c.Long = c.Short + ". They are named by their ids, or chosen by a filter; what a filter chooses is done with --yes only."
	c.ValidArgsFunction = p.completeLetters
	flags := newLetterFlags(p, c)
	dryRun := c.Flags().Bool("dry-run", false, "change nothing: say how many there are, and list some")
	yes := c.Flags().Bool("yes", false, "really")
	c.Args = func(c *cobra.Command, args []string) error {
		switch {
		case len(args) > 0 && flags.given():
			return usage(fmt.Errorf("`%s` takes message ids or a filter, not both (see `%s --help`)", c.CommandPath(), c.CommandPath()))
		case !flags.given():
			return takes(math.MaxInt, "message ids, or a filter")(c, args)
		}
		return nil
	}
	c.RunE = func(c *cobra.Command, ids []string) error {
		f, err := flags.filter()
		if err != nil {
			return err
		}
		if byID := len(ids) > 0; byID && v.needsYes(byID) && !*yes && !*dryRun {
			return usage(fmt.Errorf("%s %d dead letters cannot be undone; add --yes", v.does, len(ids)))
		}
		return p.ask(c, func(ctx context.Context, o *handlers.Client, out *printer) error {
			letters, err := p.choose(ctx, o, ids, f, *dryRun)
			if err != nil {
				return err
			}
			if *dryRun {
				return p.sample(out, letters, v.does)
			}
			if len(ids) == 0 {
				if ids, err = p.confirmed(letters, *yes, f.Limit, v.does); err != nil || len(ids) == 0 {
					return err
				}
			}
			return v.run(ctx, o, out, ids)
		})
	}
	return c
}

// choose finds the letters of a filter; those named by id are looked up for a
// dry run alone.
func (p *program) choose(ctx context.Context, o *handlers.Client, ids []string, f relay.DeadLetterFilter, look bool) ([]relay.DeadLetter, error) {
	if len(ids) == 0 {
		return o.DeadLetters(ctx, f)
	}
	if !look {
		return nil, nil
	}
	var letters []relay.DeadLetter
	err := eachID(ids, p.stderr, func(id string) error {
		l, err := o.DeadLetter(ctx, id)
		if l.Body = nil; err == nil {
			letters = append(letters, l)
		}
		return err
	})
	return letters, err
}

// sampleSize is how many letters a dry run lists.
const sampleSize = 10

func (p *program) sample(out *printer, letters []relay.DeadLetter, does string) error {
	p.note("%s would be about %d dead letters; nothing is changed. Here are %d:", does, len(letters), min(len(letters), sampleSize))
	return list(out, letters[:min(len(letters), sampleSize)], letterListing())
}

// confirmed are the ids of what a filter chose, once somebody has said --yes.
func (p *program) confirmed(letters []relay.DeadLetter, yes bool, limit int, does string) ([]string, error) {
	switch {
	case len(letters) == 0:
		p.note("no dead letter is as the filter says; nothing is changed")
		return nil, nil
	case !yes:
		return nil, usage(fmt.Errorf("%s %d dead letters: add --yes, or see them first with --dry-run", does, len(letters)))
	case len(letters) == limit:
		p.note("--limit %d is reached: there may be more; the same call again goes on", limit)
	}
	ids := make([]string, len(letters))
	for i, l := range letters {
		ids[i] = l.ID
	}
	return ids, nil
}

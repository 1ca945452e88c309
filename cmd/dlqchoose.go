package cmd

import (
	"context"
	"fmt"
	"math"

	"github.com/spf13/cobra"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

// lettersVerb does something to dead letters, named by id or chosen by a filter.
type lettersVerb struct {
	does, did string
	needsYes  func(byID bool) bool
	// begin reads the verb's own flags: what is done to each letter, how fast, and
	// what is printed in the end.
	begin func(out *printer) (lettersWork, error)
}

type lettersWork struct {
	do   func(ctx context.Context, o *handlers.Client, id string) error
	end  func() error
	rate float64 // letters a second; 0: as fast as it goes
}

func lettersCommand(p *program, c *cobra.Command, v lettersVerb) *cobra.Command {
	c.Long = c.Short + ". They are named by their ids, or chosen by a filter; what a filter chooses is done with --yes only.\n\n" +
		"Interrupted, it ends with whole letters and says how many are left; the same command again goes on with these."
	c.ValidArgsFunction = p.completeLetters
	flags := newLetterFlags(p, c, allFlag(c))
	dryRun := c.Flags().Bool("dry-run", false, "change nothing: say how many there are, and list some")
	yes := c.Flags().Bool("yes", false, "really")
	c.Args = idsOrFilter(flags, true)
	c.RunE = func(c *cobra.Command, ids []string) error {
		f, err := flags.filter()
		if err != nil {
			return err
		}
		if byID := len(ids) > 0; byID && v.needsYes(byID) && !*yes && !*dryRun {
			return usage(fmt.Errorf("%s %d dead letters cannot be undone; add --yes", v.does, len(ids)))
		}
		return p.ask(c, func(ctx context.Context, o *handlers.Client, out *printer) error {
			work, err := v.begin(out)
			if err != nil {
				return err
			}
			chosen, err := p.choose(ctx, o, ids, f, *dryRun)
			if err != nil {
				return err
			}
			if *dryRun {
				p.note("%s would be about %d dead letters; nothing is changed. Here are %d:", v.does, len(chosen.ids), len(chosen.sample))
				return list(out, chosen.sample, letterListing())
			}
			if ok, err := p.confirmed(chosen, *yes, f.Limit, v.does); !ok {
				return err
			}
			return p.work(ctx, o, chosen, v, work)
		})
	}
	return c
}

// idsOrFilter allows message ids or a filter, not both; needed: one of them.
func idsOrFilter(flags letterFlags, needed bool) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) > 0 && flags.given():
			return usage(fmt.Errorf("`%s` takes message ids or a filter, not both (see `%s --help`)", c.CommandPath(), c.CommandPath()))
		case needed && !flags.given():
			return takes(math.MaxInt, "message ids, or a filter")(c, args)
		}
		return nil
	}
}

// chosenLetters are the letters that something is done to, as they are when it
// begins: what comes meanwhile, a replay that has died again say, is not among
// them.
type chosenLetters struct {
	ids    []string
	sample []relay.DeadLetter
	named  bool // by id
}

// sampleSize is how many letters a dry run lists.
const sampleSize = 10

// choose finds the letters of a filter; those named by id are looked up for a
// dry run alone.
func (p *program) choose(ctx context.Context, o *handlers.Client, ids []string, f relay.DeadLetterFilter, look bool) (chosenLetters, error) {
	c := chosenLetters{named: len(ids) > 0}
	if !c.named {
		err := relay.EachDeadLetter(ctx, o, f, c.take)
		return c, err
	}
	if !look {
		c.ids = ids
		return c, nil
	}
	err := eachID(ids, p.stderr, func(id string) error {
		l, err := o.DeadLetter(ctx, id)
		if err != nil {
			return err
		}
		return c.take(l)
	})
	return c, err
}

// take adds a letter; it never fails (relay.EachDeadLetter lets it).
func (c *chosenLetters) take(l relay.DeadLetter) error {
	if l.Body, l.History = nil, nil; len(c.sample) < sampleSize {
		c.sample = append(c.sample, l)
	}
	c.ids = append(c.ids, l.ID)
	return nil
}

// confirmed says whether to go on: what a filter chose needs somebody to say so.
func (p *program) confirmed(c chosenLetters, yes bool, limit int, does string) (bool, error) {
	switch {
	case c.named:
		return true, nil
	case len(c.ids) == 0:
		p.note("no dead letter is as the filter says; nothing is changed")
		return false, nil
	case !yes:
		return false, usage(fmt.Errorf("%s %d dead letters: add --yes, or see them first with --dry-run", does, len(c.ids)))
	case len(c.ids) == limit:
		p.note("--limit %d is reached: there may be more; the same call again goes on", limit)
	}
	return true, nil
}

// work does it to one letter after the other.
func (p *program) work(ctx context.Context, o *handlers.Client, c chosenLetters, v lettersVerb, w lettersWork) error {
	stop, release := untilSignal(ctx)
	defer release()
	r := &lettersRun{chosen: c, did: v.did, note: p.note, pace: newPace(w.rate),
		do: func(id string) error { return w.do(ctx, o, id) }} // not cut off by a signal: each letter whole
	r.run(stop)
	if err := w.end(); err != nil {
		return err
	}
	return r.finish()
}

package cmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/theforeman/foreman-relay/handlers"
)

func dlqExport(p *program) *cobra.Command {
	c := &cobra.Command{Use: "export [ID...]", Short: "Write dead letters, whole, as lines of JSON",
		Long: "Write dead letters, whole, as lines of JSON: all, those with these ids, or those that a filter chooses. Nothing is changed; `dlq import` makes the same letters of it again.",
		Example: "  foreman-relay dlq export > letters.jsonl\n" +
			"  foreman-relay dlq export --reason rejected > letters.jsonl && jq -r .id letters.jsonl | xargs foreman-relay dlq discard --yes   # these, and none that died since",
		ValidArgsFunction: p.completeLetters}
	flags := newLetterFlags(p, c, allFlag(c))
	c.Args = idsOrFilter(flags, false)
	c.RunE = func(c *cobra.Command, ids []string) error {
		f, err := flags.filter()
		if err != nil {
			return err
		}
		if format, _ := c.Flags().GetString("output"); c.Flags().Changed("output") && format != asLines {
			return usage(fmt.Errorf("--output is %q; an export is always %s", format, asLines))
		}
		return p.ask(c, func(ctx context.Context, o *handlers.Client, out *printer) error {
			chosen, err := p.choose(ctx, o, ids, f, false)
			if err != nil || len(chosen.ids) == 0 {
				return err
			}
			return p.work(ctx, o, chosen, lettersVerb{did: "exported"}, lettersWork{
				do: func(ctx context.Context, o *handlers.Client, id string) error {
					x, err := o.ExportDeadLetter(ctx, id)
					if err != nil {
						return err
					}
					return out.printLine(x)
				},
				end: func() error { return nil }})
		})
	}
	return c
}

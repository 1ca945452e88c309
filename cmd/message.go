package cmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

func messageCommand(p *program) *cobra.Command {
	show := &cobra.Command{Use: "show ID", Short: "Show where a message stands and what happened to it", Args: takes(1, "one message id"),
		Example: "  foreman-relay message show ID   # as in the answer's Relay-Message-Id"}
	show.RunE = func(c *cobra.Command, args []string) error {
		return p.ask(c, func(ctx context.Context, o *handlers.Client, out *printer) error {
			s, err := o.Message(ctx, args[0])
			if err != nil {
				return err
			}
			return printMessage(out, s)
		})
	}
	operatorFlags(show)
	return noun("message", "See single messages", show)
}

func printMessage(out *printer, s relay.MessageStatus) error {
	journal := "yes"
	if !s.InJournal {
		journal = "no, settled and trimmed"
	}
	err := out.fields(s, "id", s.ID, "queue", s.Organization+"/"+s.Destination, "state", s.State, "reason", s.Reason, "route", s.Route,
		"host", s.Lane, "key", fmt.Sprintf("%q", s.Key), "accepted", when(s.AcceptedAt), "sequence", s.Sequence, "bytes", s.Bytes, "sha256", s.Digest,
		"durability", s.Durability, "attempts", s.Attempts, "next attempt", when(s.NextAttempt), "replayed from", s.ReplayedFrom,
		"replaced by", s.ReplacedBy, "in the journal", journal)
	if err != nil || out.json || len(s.Events) == 0 {
		return err
	}
	return list(out, s.Events, "AT STATE ATTEMPT STATUS REASON DETAIL", func(e relay.EventStatus) string { return string(e.State) }, func(e relay.EventStatus) []any {
		return []any{when(&e.At), e.State, e.Attempt, e.Status, orDash(e.Reason), e.Detail}
	})
}

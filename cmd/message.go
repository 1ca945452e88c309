package cmd

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

func messageCommand(p *program) *cobra.Command {
	verbs := []*cobra.Command{messageList(p), messageShow(p), messageWhy(p), messageWait(p), messageCancel(p)}
	for _, v := range verbs {
		operatorFlags(v)
	}
	return noun("message", "See, await and cancel single messages", verbs...)
}

func messageList(p *program) *cobra.Command {
	c := &cobra.Command{Use: "ls", Short: "List messages that the journal holds, the newest first", Args: noArgs,
		Example: "  foreman-relay message ls --host web.example.com --state waiting",
		Long: fmt.Sprintf("List messages that the journal holds, the newest first. At most %d envelopes are read; where that was not enough, it is said on stderr.",
			relay.MaxMessagesScanned)}
	queue, limit, since := queueFlag(p, c), limitFlag(c, relay.DefaultMessageLimit), sinceFlag(c, "accepted")
	f := c.Flags()
	state := f.String("state", "", "only in this `STATE`: scheduled, queued, delivering, waiting, delivered, dead, superseded, cancelled, discarded, duplicate")
	route := f.String("route", "", "only of this `ROUTE`")
	host := f.String("host", "", "only of this `HOST` (ordering key)")
	complete(c, "state", known([]string{"scheduled", "queued", "delivering", "waiting", "delivered", "dead", "superseded", "cancelled", "discarded", "duplicate"}))
	c.RunE = func(c *cobra.Command, _ []string) error {
		f := relay.MessageFilter{State: relay.State(*state), Route: *route, Host: *host}
		var err error
		if f.Limit, err = limit(); err != nil {
			return err
		}
		if f.Since, err = since(); err != nil {
			return err
		}
		if f.Queue, err = queue(); err != nil {
			return err
		}
		if err := f.Check(); err != nil {
			return err
		}
		return p.ask(c, func(ctx context.Context, o *handlers.Client, out *printer) error {
			found, err := o.Messages(ctx, f)
			if err != nil {
				return err
			}
			p.noteIncomplete(found)
			return list(out, found.Messages, messageListing())
		})
	}
	return c
}

// noteIncomplete says when there may be more than what is listed.
func (p *program) noteIncomplete(found relay.MessageList) {
	if found.Incomplete != "" {
		p.note("%s", found.Incomplete)
	}
}

func messageListing() listing[relay.MessageSummary] {
	return listing[relay.MessageSummary]{name: func(m relay.MessageSummary) string { return m.ID }, columns: []column[relay.MessageSummary]{
		{header: "ID", cell: func(m relay.MessageSummary) any { return m.ID }},
		{header: "QUEUE", cell: func(m relay.MessageSummary) any { return m.Organization + "/" + m.Destination }},
		{header: "STATE", cell: func(m relay.MessageSummary) any { return stateCell(m.State) }},
		{header: "ROUTE", cell: func(m relay.MessageSummary) any { return m.Route }},
		{header: "HOST", cell: func(m relay.MessageSummary) any { return orDash(m.Lane) }},
		{header: "ACCEPTED", cell: func(m relay.MessageSummary) any { return when(&m.AcceptedAt) }},
		{header: "BYTES", cell: func(m relay.MessageSummary) any { return m.Bytes }},
		{header: "SEQUENCE", cell: func(m relay.MessageSummary) any { return m.Sequence }, wide: true},
		{header: "FAILED", cell: func(m relay.MessageSummary) any { return m.Attempts }, wide: true},
		{header: "NEXT", cell: func(m relay.MessageSummary) any { return orDash(when(m.NextAttempt)) }, wide: true},
		{header: "REASON", cell: func(m relay.MessageSummary) any { return orDash(m.Reason) }, wide: true},
		{header: "NOT BEFORE", cell: func(m relay.MessageSummary) any { return orDash(when(m.NotBefore)) }, wide: true},
		{header: "EXPIRES", cell: func(m relay.MessageSummary) any { return orDash(when(m.Expires)) }, wide: true},
		{header: "PRIORITY", cell: func(m relay.MessageSummary) any { return priority(m.Urgent) }, wide: true},
		{header: "SEALED TO", cell: func(m relay.MessageSummary) any { return orDash(m.SealedTo) }, wide: true},
	}}
}

func priority(urgent bool) string {
	if urgent {
		return "urgent"
	}
	return "bulk"
}

func messageShow(p *program) *cobra.Command {
	c := &cobra.Command{Use: "show ID", Short: "Show where a message stands and what happened to it", Args: takes(1, "one message id"),
		Example: "  foreman-relay message show ID   # as in the answer's Relay-Message-Id", ValidArgsFunction: onlyFirst(p.completeMessages)}
	c.RunE = func(c *cobra.Command, args []string) error {
		return p.ask(c, func(ctx context.Context, o *handlers.Client, out *printer) error {
			s, err := o.Message(ctx, args[0])
			if err != nil {
				return err
			}
			return printMessage(out, s)
		})
	}
	return c
}

func printMessage(out *printer, s relay.MessageStatus) error {
	journal := "yes"
	if !s.InJournal {
		journal = "no, settled and trimmed"
	}
	err := fields(out, s, s.ID, "id", s.ID, "queue", s.Organization+"/"+s.Destination, "state", stateCell(s.State), "reason", s.Reason, "route", s.Route,
		"host", s.Lane, "key", fmt.Sprintf("%q", s.Key), "accepted", when(s.AcceptedAt), "sequence", s.Sequence, "bytes", s.Bytes, "sha256", s.Digest, "sealed", sealedCell(s),
		"durability", s.Durability, "priority", priority(s.Urgent), "not before", when(s.NotBefore), "expires", when(s.Expires),
		"attempts", attemptsOf(s), "next attempt", when(s.NextAttempt), "replayed from", s.ReplayedFrom, "sender", s.Sender,
		"replaced by", s.ReplacedBy, "in the journal", journal)
	if err != nil || !out.tabular() || len(s.Events) == 0 {
		return err
	}
	return list(out, s.Events, eventListing())
}

// sealedCell says what of a message only a drain can read.
func sealedCell(s relay.MessageStatus) string {
	var what []string
	if s.Encryption != "" {
		what = append(what, "body")
	}
	if s.Credentials != "" {
		what = append(what, strings.Replace(s.Credentials, "sealed", "credentials", 1))
	}
	text := strings.Join(what, " and ")
	if s.SealedTo != "" {
		text += ", to key " + s.SealedTo
	}
	return text
}

// attemptsOf counts the attempts that count, and tells those apart of which
// nobody knows what came; an outage burns no attempt, so that they may be more.
func attemptsOf(s relay.MessageStatus) string {
	if s.Ambiguous == 0 {
		return fmt.Sprint(s.Attempts)
	}
	return fmt.Sprintf("%d; %d ambiguous: sent, and nobody knows what came of it", s.Attempts, s.Ambiguous)
}

func reasonOf(e relay.EventStatus) string {
	if e.Ambiguous && e.Reason != relay.ReasonAmbiguous {
		return e.Reason + " (ambiguous)"
	}
	return orDash(e.Reason)
}

func eventListing() listing[relay.EventStatus] {
	return listing[relay.EventStatus]{name: func(e relay.EventStatus) string { return string(e.State) }, columns: []column[relay.EventStatus]{
		{header: "AT", cell: func(e relay.EventStatus) any { return when(&e.At) }},
		{header: "STATE", cell: func(e relay.EventStatus) any { return stateCell(e.State) }},
		{header: "ATTEMPT", cell: func(e relay.EventStatus) any { return e.Attempt }},
		{header: "STATUS", cell: func(e relay.EventStatus) any { return e.Status }},
		{header: "NEXT", cell: func(e relay.EventStatus) any { return orDash(when(e.Next)) }, wide: true},
		{header: "EPOCH", cell: func(e relay.EventStatus) any { return e.Epoch }, wide: true},
		{header: "REASON", cell: func(e relay.EventStatus) any { return reasonOf(e) }},
		{header: "DETAIL", cell: func(e relay.EventStatus) any { return e.Detail }},
	}}
}

func messageWhy(p *program) *cobra.Command {
	c := &cobra.Command{Use: "why ID", Short: "Say why a message is not delivered yet, what happens next, and what to do", Args: takes(1, "one message id"),
		Example: "  foreman-relay message why ID", ValidArgsFunction: onlyFirst(p.completeMessages)}
	c.RunE = func(c *cobra.Command, args []string) error {
		return p.ask(c, func(ctx context.Context, o *handlers.Client, out *printer) error {
			e, err := o.Why(ctx, args[0])
			if err != nil {
				return err
			}
			return printWhy(out, e)
		})
	}
	return c
}

func printWhy(out *printer, e relay.Explanation) error {
	pairs := []any{"message", e.ID, "state", stateCell(e.State), "", e.Stands}
	for _, because := range e.Because {
		pairs = append(pairs, "because", because)
	}
	pairs = append(pairs, "next", e.Next)
	for _, do := range e.Do {
		pairs = append(pairs, "to do", do)
	}
	return fields(out, e, e.ID, pairs...)
}

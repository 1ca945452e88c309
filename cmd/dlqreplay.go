package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

func dlqReplay(p *program) *cobra.Command {
	c := &cobra.Command{Use: "replay ID...", Short: "Accept dead letters again, as new messages that supersede them",
		Example: "  foreman-relay dlq replay ID\n  foreman-relay dlq replay --reason max_attempts --since 2d --dry-run\n" +
			"  foreman-relay dlq replay --reason max_attempts --since 2d --rate 10/s --yes\n" +
			"  foreman-relay dlq replay ID --set '/config_report/host=\"web.example.com\"'"}
	header := c.Flags().StringArray("set-header", nil, "set a header that travels, `NAME=VALUE`; an empty value takes it away")
	set := c.Flags().StringArray("set", nil, "put a value into a JSON body, `POINTER=JSON`: a pointer as in RFC 6901, a string in its quotes")
	rate := c.Flags().String("rate", "", "at most `N/s`, evenly; also N/m and N/h")
	return lettersCommand(p, c, lettersVerb{
		needsYes: func(ids bool) bool { return !ids }, does: "replaying", did: "replayed",
		begin: func(out *printer) (w lettersWork, err error) {
			edit, err := parseEdit(*header, *set)
			if err != nil {
				return w, err
			}
			if w.rate, err = parseRate(*rate); err != nil {
				return w, err
			}
			receipts := &rows[relay.Receipt]{out: out, listing: receiptListing()}
			w.do = func(ctx context.Context, o *handlers.Client, id string) error {
				r, err := o.Replay(ctx, id, edit)
				if err != nil {
					return err
				}
				return receipts.add(r)
			}
			w.end = receipts.endIfAny
			return w, nil
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

// parseEdit reads --set-header and --set.
func parseEdit(headers, sets []string) (e relay.Edit, err error) {
	for _, s := range headers {
		name, value, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return e, usage(fmt.Errorf("--set-header is %q; write NAME=VALUE", s))
		}
		if e.Header == nil {
			e.Header = map[string]string{}
		}
		e.Header[name] = value
	}
	for _, s := range sets {
		r, err := parseSet(s)
		if err != nil {
			return e, err
		}
		e.Set = append(e.Set, r)
	}
	return e, nil
}

// parseSet reads POINTER=JSON; the pointer may hold a = too.
func parseSet(s string) (r relay.Replacement, err error) {
	for i := range len(s) {
		if value := s[i+1:]; s[i] == '=' && json.Valid([]byte(value)) {
			return relay.Replacement{Pointer: s[:i], Value: json.RawMessage(value)}, nil
		}
	}
	return r, usage(fmt.Errorf("--set is %q; write POINTER=JSON, for example /config_report/host=\"web.example.com\" (a string needs its quotes)", s))
}

func dlqDiscard(p *program) *cobra.Command {
	c := &cobra.Command{Use: "discard ID...", Short: "Remove dead letters for good",
		Example: "  foreman-relay dlq discard ID --yes\n  foreman-relay dlq discard --route facts --since 7d --dry-run"}
	return lettersCommand(p, c, lettersVerb{
		needsYes: func(bool) bool { return true }, does: "discarding", did: "discarded",
		begin: func(*printer) (lettersWork, error) {
			return lettersWork{
				do:  func(ctx context.Context, o *handlers.Client, id string) error { return o.Discard(ctx, id) },
				end: func() error { return nil },
			}, nil
		}})
}

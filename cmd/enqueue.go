package cmd

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/foreman"
)

func enqueueCommand(p *program) *cobra.Command {
	c := &cobra.Command{Use: "enqueue ORGANIZATION/DESTINATION [FILE|-]", Short: "Put one message into a queue", Args: takes(2, "one queue and at most one file"),
		Long: "Put one message into a queue, from a file or from stdin, as the edge takes it over HTTP: same rules, same keys.\n" +
			"With --route it is one of the destination's own requests, and held against its schema; without, it is delivered to the destination's URL, or to --path.",
		Example: "  foreman-relay enqueue default/foreman facts.json --route facts\n  echo '{}' | foreman-relay enqueue default/foreman --path /api/v2/ping --key once",
		ValidArgsFunction: func(c *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return nil, cobra.ShellCompDirectiveDefault // files
			}
			return onlyFirst(p.completeQueues)(c, args, word)
		}}
	var s relay.Submission
	f := c.Flags()
	f.StringVar(&s.Route, "route", "", "one of the destination's requests, by its `NAME`: report, facts, …")
	f.StringVar(&s.Path, "path", "", "deliver to this `PATH` at the destination (default: the route's own)")
	f.StringVar(&s.Key, "key", "", "idempotency `KEY` (default: as the route derives it, else none)")
	f.StringVar(&s.OrderingKey, "ordering-key", "", "messages with one `KEY` are delivered in order, one at a time (default: as the route finds it)")
	f.StringVar(&s.ContentType, "content-type", "", "media `TYPE` of the body (default: the route's own, else application/octet-stream)")
	f.StringVar(&s.NotBefore, "not-before", "", "deliver not before this `TIME`: 2006-01-02T15:04:05Z, or from now: 90s, 2h (default: at once)")
	f.StringVar(&s.Expires, "expires", "", "deliver before this `TIME` or not at all: 2006-01-02T15:04:05Z, or from now: 90s, 2h (default: the route's maximum age)")
	f.StringVar(&s.Priority, "priority", "", "`CLASS`: urgent, before the bulk of the queue, or bulk (default: as the route has it)")
	operatorFlags(c)
	complete(c, "route", known(routeNames()))
	complete(c, "priority", known([]string{"urgent", "bulk"}))
	c.RunE = func(c *cobra.Command, args []string) error {
		var err error
		if s.Queue, err = parseQueueArg(args[0]); err != nil {
			return err
		}
		if s.ContentType == "" {
			s.ContentType = typeOf(s.Route)
		}
		return p.ask(c, func(ctx context.Context, o *handlers.Client, out *printer) error {
			if s.Body, err = readMessage(c.InOrStdin(), args[1:]); err != nil {
				return err
			}
			r, err := o.Enqueue(ctx, s)
			if err != nil {
				return err
			}
			return fields(out, r, r.ID, "id", r.ID, "queue", r.Queue, "state", r.State, "durability", r.Durability,
				"accepted", when(&r.AcceptedAt), "replayed", r.Replayed, "location", r.Location)
		})
	}
	return c
}

// readMessage reads a file, or stdin where none or "-" is given, bounded by what
// any relay takes.
func readMessage(stdin io.Reader, args []string) ([]byte, error) {
	from := stdin
	if len(args) > 0 && args[0] != "-" {
		f, err := os.Open(args[0])
		if err != nil {
			return nil, usage(fmt.Errorf("the message: %w", err))
		}
		defer func() { _ = f.Close() }() // it was only read
		from = f
	}
	body, err := io.ReadAll(io.LimitReader(from, broker.MaxBody+1))
	if err != nil {
		return nil, usage(fmt.Errorf("the message: %w", err))
	}
	if len(body) > broker.MaxBody {
		return nil, relay.Refuse(relay.CodeTooLarge, "the message is larger than %d bytes, which is the most that a relay takes; nothing was stored", broker.MaxBody)
	}
	return body, nil
}

// foremanRoute finds a route by its name; the zero Route where there is none.
func foremanRoute(name string) relay.Route {
	for _, r := range foreman.Routes(relay.DefaultPolicy()) {
		if r.Name == name {
			return r
		}
	}
	return relay.Route{}
}

// typeOf is the media type that a route takes, if it takes only some.
func typeOf(route string) string {
	if types := foremanRoute(route).ContentTypes; len(types) > 0 {
		return types[0]
	}
	return ""
}

func routeNames() []string {
	var names []string
	for _, r := range foreman.Routes(relay.DefaultPolicy()) {
		if !slices.Contains(names, r.Name) {
			names = append(names, r.Name)
		}
	}
	return names
}

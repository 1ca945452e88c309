package cmd

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

const (
	watchInterval    = 2 * time.Second
	minWatchInterval = 100 * time.Millisecond
	clearScreen      = "\x1b[H\x1b[2J"
)

func queueWatch(p *program) *cobra.Command {
	c := &cobra.Command{Use: "watch [ORGANIZATION/DESTINATION]", Short: "List queues again and again until interrupted",
		Args: takesUpTo(1, "one queue at most, as ORGANIZATION/DESTINATION"), Example: "  foreman-relay queue watch default/foreman -o jsonl",
		Long: "List queues again and again until interrupted: a table in place on a terminal and one below the other elsewhere, with -o jsonl a line\n" +
			"for each queue that has changed.", ValidArgsFunction: onlyFirst(p.completeQueues)}
	interval := intervalFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return p.watchQueues(c, *interval, nil)
		}
		q, err := parseQueueArg(args[0])
		if err != nil {
			return err
		}
		return p.watchQueues(c, *interval, &q)
	}
	return c
}

func intervalFlag(c *cobra.Command) *time.Duration {
	return c.Flags().Duration("interval", watchInterval, "`TIME` between two looks of a watch")
}

// watchQueues prints until a signal comes, which is no failure.
func (p *program) watchQueues(c *cobra.Command, interval time.Duration, only *relay.Queue) error {
	if interval < minWatchInterval {
		return usage(fmt.Errorf("--interval is %v; it must be at least %v", interval, minWatchInterval))
	}
	ctx, stop := untilSignal(c.Context())
	defer stop()
	return p.ask(c, func(_ context.Context, o *handlers.Client, out *printer) error {
		if !out.tabular() && out.format != asLines {
			return usage(fmt.Errorf("--output is %q; a watch prints table, wide or jsonl", out.format))
		}
		w := watcher{out: out, inPlace: out.tabular() && isTerminal(out.w), last: map[string]relay.QueueStatus{}}
		for ctx.Err() == nil {
			if err := w.once(ctx, o, only); err != nil && ctx.Err() == nil {
				return err
			}
			select {
			case <-ctx.Done():
			case <-time.After(interval):
			}
		}
		return nil
	})
}

func look(ctx context.Context, o *handlers.Client, only *relay.Queue) ([]relay.QueueStatus, error) {
	if only == nil {
		return o.Queues(ctx)
	}
	s, err := o.Queue(ctx, *only)
	return []relay.QueueStatus{s}, err
}

// watcher prints one look after the other.
type watcher struct {
	out     *printer
	inPlace bool
	last    map[string]relay.QueueStatus
}

func (w *watcher) once(ctx context.Context, o *handlers.Client, only *relay.Queue) error {
	rows, err := look(ctx, o, only)
	if err != nil {
		return err
	}
	return w.print(rows)
}

func (w *watcher) print(rows []relay.QueueStatus) error {
	if w.out.format == asLines {
		rows = w.changed(rows)
	}
	if w.inPlace {
		if _, err := fmt.Fprint(w.out.w, clearScreen); err != nil {
			return err
		}
	}
	err := list(w.out, rows, queueListing())
	if !w.inPlace {
		w.out.noHeaders = true // they are above
	}
	return err
}

// changed leaves out what is as it was at the last look but for growing older.
func (w *watcher) changed(rows []relay.QueueStatus) []relay.QueueStatus {
	var changed []relay.QueueStatus
	for _, row := range rows {
		still := row
		still.OldestAgeSeconds = 0
		before, seen := w.last[queueName(row)]
		if !seen || !sameStatus(before, still) {
			changed = append(changed, row)
		}
		w.last[queueName(row)] = still
	}
	return changed
}

// sameStatus compares by value; since when a circuit is open is a moment that is
// reckoned anew each time.
func sameStatus(a, b relay.QueueStatus) bool {
	paused := func(s relay.QueueStatus) relay.Pause {
		if s.Pause == nil {
			return relay.Pause{}
		}
		return *s.Pause
	}
	if paused(a) != paused(b) {
		return false
	}
	a.Pause, a.BreakerSince, b.Pause, b.BreakerSince = nil, nil, nil, nil
	return a == b
}

package cmd

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/theforeman/foreman-relay/relay"
)

// limitFlag registers --limit; the function it returns reads it.
func limitFlag(c *cobra.Command, most int) func() (int, error) {
	limit := c.Flags().Int("limit", most, "at most `N`")
	return func() (int, error) {
		if *limit < 1 {
			return 0, usage(fmt.Errorf("--limit is %d; it must be at least 1", *limit))
		}
		return *limit, nil
	}
}

// sinceFlag registers --since; the function it returns reads it, zero for none.
func sinceFlag(c *cobra.Command, what string) func() (time.Time, error) {
	since := c.Flags().String("since", "", "only "+what+" since this `TIME`: an age like 90m, 12h or 7d, or a time like 2026-11-24 or 2026-11-24T08:00:00Z")
	return func() (time.Time, error) {
		if *since == "" {
			return time.Time{}, nil
		}
		return parseTime("since", *since, time.Now())
	}
}

// parseTime reads what --since and its kind are given.
func parseTime(flag, s string, now time.Time) (time.Time, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.Add(-time.Duration(n) * 24 * time.Hour), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly, time.DateTime} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usage(fmt.Errorf("--%s is %q; write an age like 90m, 12h or 7d, or a time like 2026-11-24 or 2026-11-24T08:00:00Z (UTC)", flag, s))
}

// letterFlags are the filter of dead letters, the same for every verb. Those for
// one field each are short for a condition of --where.
type letterFlags struct {
	command *cobra.Command
	queue   func() (*relay.Queue, error)
	since   func() (time.Time, error)
	limit   func() (int, error)
	where   *[]string
}

// shortConditions are the fields of --where that have a flag of their own.
var shortConditions = [...]string{"reason", "route", "host", "status"}

func newLetterFlags(p *program, c *cobra.Command) letterFlags {
	f := letterFlags{command: c, queue: queueFlag(p, c), since: sinceFlag(c, "dead"), limit: limitFlag(c, relay.DefaultDeadLetterLimit)}
	for _, field := range shortConditions {
		c.Flags().String(field, "", "only with this `"+strings.ToUpper(field)+"`")
	}
	f.where = c.Flags().StringArray("where", nil, "only where `EXPR` holds: FIELD=VALUE, FIELD!=VALUE or FIELD~SUBSTRING, several divided by commas")
	return f
}

// given says whether the letters are chosen by a filter at all; a limit alone
// chooses none.
func (f letterFlags) given() bool {
	for _, name := range append([]string{"queue", "since", "where"}, shortConditions[:]...) {
		if f.command.Flags().Changed(name) {
			return true
		}
	}
	return false
}

func (f letterFlags) filter() (filter relay.DeadLetterFilter, err error) {
	if filter.Queue, err = f.queue(); err != nil {
		return filter, err
	}
	if filter.Since, err = f.since(); err != nil {
		return filter, err
	}
	if filter.Limit, err = f.limit(); err != nil {
		return filter, err
	}
	if filter.Where, err = relay.ParseWhere(*f.where...); err != nil {
		return filter, usage(fmt.Errorf("--where: %w", err))
	}
	for _, field := range shortConditions {
		if !f.command.Flags().Changed(field) {
			continue
		}
		value, _ := f.command.Flags().GetString(field) // registered by newLetterFlags
		condition, err := relay.ParseCondition(field + "=" + value)
		if err != nil {
			return filter, err
		}
		filter.Where = append(filter.Where, condition)
	}
	return filter, nil
}

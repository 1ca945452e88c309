package cmd

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

func orgCommand(p *program) *cobra.Command {
	verbs := []*cobra.Command{orgList(p), orgShow(p), orgEnable(p), orgDisable(p), orgQuota(p)}
	for _, v := range verbs {
		operatorFlags(v)
	}
	return noun("org", "See and switch the organizations, and say how much they may", verbs...)
}

func orgList(p *program) *cobra.Command {
	c := &cobra.Command{Use: "ls", Short: "List the organizations", Args: noArgs, Example: "  foreman-relay org ls -o wide"}
	c.RunE = func(c *cobra.Command, _ []string) error {
		return p.ask(c, func(ctx context.Context, o *handlers.Client, out *printer) error {
			all, err := o.Organizations(ctx)
			if err != nil {
				return err
			}
			return list(out, all, orgListing())
		})
	}
	return c
}

func orgListing() listing[relay.Organization] {
	cell := func(f func(relay.Organization) any) func(relay.Organization) any { return f }
	return listing[relay.Organization]{name: func(o relay.Organization) string { return o.Name }, columns: []column[relay.Organization]{
		{header: "ORGANIZATION", cell: cell(func(o relay.Organization) any { return o.Name })},
		{header: "STATE", cell: cell(func(o relay.Organization) any { return onCell(o) })},
		{header: "BY", cell: cell(func(o relay.Organization) any { return orDash(o.ChangedBy) })},
		{header: "QUOTA", cell: cell(func(o relay.Organization) any { return sizeOr(o.Quota.Bytes) })},
		{header: "RATE", cell: cell(func(o relay.Organization) any { return rateOr(o.Rate.PerSecond) })},
		{header: "WEIGHT", cell: cell(func(o relay.Organization) any { return countOr(int64(o.Weight)) })},
		{header: "SEALED", cell: cell(func(o relay.Organization) any { return yesNo(o.Sealed) }), wide: true},
		{header: "RULES", cell: cell(func(o relay.Organization) any { return len(o.Rules) }), wide: true},
		{header: "FOREMAN", cell: cell(func(o relay.Organization) any { return countOr(o.ForemanID) }), wide: true},
		{header: "BECAUSE", cell: cell(func(o relay.Organization) any { return orDash(o.Why) }), wide: true},
	}}
}

func orgShow(p *program) *cobra.Command {
	c := &cobra.Command{Use: "show ORGANIZATION", Short: "Show one organization", Args: takes(1, "the name of one organization"),
		Example: "  foreman-relay org show 'ACME/Branch Office'", ValidArgsFunction: onlyFirst(p.completeOrganizations)}
	c.RunE = func(c *cobra.Command, args []string) error {
		return p.ask(c, func(ctx context.Context, o *handlers.Client, out *printer) error {
			found, _, err := o.Organization(ctx, args[0])
			if err != nil {
				return err
			}
			return printOrg(out, found)
		})
	}
	return c
}

func printOrg(out *printer, o relay.Organization) error {
	pairs := []any{"organization", o.Name, "state", onCell(o), "because", o.Why, "changed by", o.ChangedBy, "changed", when(&o.Changed),
		"id in foreman", countOr(o.ForemanID), "quota of a queue", sizeOr(o.Quota.Bytes), "pending messages of a queue", countOr(o.Quota.Messages),
		"size of a message", sizeOr(o.Quota.MessageBytes), "rate", rateOr(o.Rate.PerSecond), "burst", countOr(int64(o.Rate.Burst)),
		"rate of a sender", rateOr(o.Rate.SenderPerSecond), "burst of a sender", countOr(int64(o.Rate.SenderBurst)),
		"weight", countOr(int64(o.Weight)), "sealed", yesNo(o.Sealed)}
	for i, r := range o.Rules {
		pairs = append(pairs, fmt.Sprintf("rule %d", i+1), ruleText(r))
	}
	for i, v := range pairs {
		if v == "-" { // as it is for all: left out
			pairs[i] = ""
		}
	}
	return fields(out, o, o.Name, pairs...)
}

func onCell(o relay.Organization) any {
	if o.Enabled {
		return colored{"on", green}
	}
	return colored{"off", red}
}

// What is not set is as it is configured for all.
func sizeOr(n int64) string {
	if n == 0 {
		return "-"
	}
	return ByteSize(n).String()
}

func countOr(n int64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

func rateOr(perSecond float64) string {
	if perSecond == 0 {
		return "-"
	}
	return fmt.Sprintf("%g/s", perSecond)
}

// ruleText is a rule on one line.
func ruleText(r relay.IdentityRule) string {
	var parts []string
	for _, is := range [][2]string{{"fingerprint", r.Fingerprint}, {"issuer", r.Issuer}, {"O", r.SubjectO}, {"SAN", r.SAN}, {"CN", r.CN}} {
		if is[1] != "" {
			parts = append(parts, is[0]+" "+is[1])
		}
	}
	return cmp.Or(strings.Join(parts, " and "), "any certificate") + ", speaks for " + string(cmp.Or(r.SpeaksFor, relay.HostsOwn))
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

package cmd

import (
	"context"
	"fmt"
	"math"

	"github.com/spf13/cobra"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

// changeTries is how often a change is made anew that another one has overtaken.
const changeTries = 5

func orgEnable(p *program) *cobra.Command {
	c := &cobra.Command{Use: "enable ORGANIZATION", Short: "Take requests of an organization", Args: takes(1, "the name of one organization"),
		Example: "  foreman-relay org enable ACME\n  foreman-relay org enable 'ACME/Branch Office' --create", ValidArgsFunction: onlyFirst(p.completeOrganizations)}
	create := c.Flags().Bool("create", false, "make it, with its queues, if the relay does not know it")
	c.RunE = p.changeOrg("is on", create, func(o *relay.Organization) error {
		o.Enabled, o.Why, o.ChangedBy = true, "", relay.ChangedByOperator
		return nil
	})
	return c
}

func orgDisable(p *program) *cobra.Command {
	c := &cobra.Command{Use: "disable ORGANIZATION", Short: "Refuse requests of an organization", Args: takes(1, "the name of one organization"),
		Example: "  foreman-relay org disable ACME --why 'moved to another relay'", ValidArgsFunction: onlyFirst(p.completeOrganizations),
		Long: "Refuse requests of an organization, with 403, until it is enabled again. What is queued is delivered, or waits, as `organizations_off` says."}
	why := c.Flags().String("why", "", "why, a `TEXT` that whoever is refused is told")
	c.RunE = p.changeOrg("is off", nil, func(o *relay.Organization) error {
		o.Enabled, o.Why, o.ChangedBy = false, *why, relay.ChangedByOperator
		return nil
	})
	return c
}

// quotaFlags are the flags of `org quota`; those that were given count.
type quotaFlags struct {
	bytes, messageBytes ByteSize
	messages            int64
	rate, senderRate    float64
	burst, senderBurst  int
	weight              int
	sealed              bool
}

func orgQuota(p *program) *cobra.Command {
	c := &cobra.Command{Use: "quota ORGANIZATION", Short: "Say how much an organization may", Args: takes(1, "the name of one organization"),
		Example: "  foreman-relay org quota ACME --bytes 2GiB --rate 100 --burst 500", ValidArgsFunction: onlyFirst(p.completeOrganizations),
		Long: "Say how much an organization may. Only what is given is changed; 0 is what the configuration says for all."}
	var q quotaFlags
	f := c.Flags()
	f.Var(&q.bytes, "bytes", "a queue may hold this `SIZE`")
	f.Int64Var(&q.messages, "messages", 0, "and this `NUMBER` of pending messages")
	f.Var(&q.messageBytes, "message-bytes", "a body may have this `SIZE`")
	f.Float64Var(&q.rate, "rate", 0, "`REQUESTS` a second of all its senders")
	f.IntVar(&q.burst, "burst", 0, "`REQUESTS` of all its senders that may come at once")
	f.Float64Var(&q.senderRate, "sender-rate", 0, "`REQUESTS` a second of each sender")
	f.IntVar(&q.senderBurst, "sender-burst", 0, "`REQUESTS` of each sender that may come at once")
	f.IntVar(&q.weight, "weight", 0, "its share of a destination, a `NUMBER`; others have 1")
	f.BoolVar(&q.sealed, "sealed", false, "encrypt its bodies to the drain's key before they are stored")
	c.RunE = func(c *cobra.Command, args []string) error {
		given := 0
		for _, name := range []string{"bytes", "messages", "message-bytes", "rate", "burst", "sender-rate", "sender-burst", "weight", "sealed"} {
			if f.Changed(name) {
				given++
			}
		}
		if given == 0 {
			return usage(fmt.Errorf("`%s` changes nothing: say what it may (see `%s --help`)", c.CommandPath(), c.CommandPath()))
		}
		return p.changeOrg("is changed", nil, func(o *relay.Organization) error { return q.apply(o, f.Changed) })(c, args)
	}
	return c
}

func (q quotaFlags) apply(o *relay.Organization, given func(string) bool) error {
	for name, n := range map[string]float64{"messages": float64(q.messages), "rate": q.rate, "burst": float64(q.burst),
		"sender-rate": q.senderRate, "sender-burst": float64(q.senderBurst), "weight": float64(q.weight)} {
		if n < 0 || math.IsNaN(n) || n > 1e9 {
			return usage(fmt.Errorf("--%s is %v; it must be from 0 to %v", name, n, int64(1e9)))
		}
	}
	set := func(name string, change func()) {
		if given(name) {
			change()
		}
	}
	set("bytes", func() { o.Quota.Bytes = int64(q.bytes) })
	set("messages", func() { o.Quota.Messages = q.messages })
	set("message-bytes", func() { o.Quota.MessageBytes = int64(q.messageBytes) })
	set("rate", func() { o.Rate.PerSecond = q.rate })
	set("burst", func() { o.Rate.Burst = q.burst })
	set("sender-rate", func() { o.Rate.SenderPerSecond = q.senderRate })
	set("sender-burst", func() { o.Rate.SenderBurst = q.senderBurst })
	set("weight", func() { o.Weight = q.weight })
	set("sealed", func() { o.Sealed = q.sealed })
	return nil
}

// changeOrg runs a command that changes one organization, and prints how it is
// then. A change that another one has overtaken is made anew on what that left.
func (p *program) changeOrg(done string, create *bool, change func(*relay.Organization) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		return p.ask(c, func(ctx context.Context, client *handlers.Client, out *printer) error {
			var err error
			for range changeTries {
				var o relay.Organization
				if o, err = changeOnce(ctx, client, args[0], create != nil && *create, change); err == nil {
					p.note("organization %s %s", o.Name, done)
					return printOrg(out, o)
				}
				if relay.CodeOf(err) != relay.CodeConflict {
					return err
				}
			}
			return err
		})
	}
}

func changeOnce(ctx context.Context, all relay.Organizations, name string, create bool, change func(*relay.Organization) error) (relay.Organization, error) {
	o, revision, err := all.Organization(ctx, name)
	if create && relay.CodeOf(err) == relay.CodeNotFound {
		o, revision, err = relay.Organization{Name: name}, 0, nil
	}
	if err != nil {
		return o, err
	}
	if err := change(&o); err != nil {
		return o, err
	}
	if _, err = all.PutOrganization(ctx, o, revision); err != nil {
		return o, err
	}
	o, _, err = all.Organization(ctx, name) // as it is now
	return o, err
}

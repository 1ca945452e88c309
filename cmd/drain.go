package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

func drainCommand(p *program) *cobra.Command {
	c := &cobra.Command{Use: "drain", Short: "Deliver to Foreman, or to another destination, what an edge elsewhere has stored", Args: noArgs,
		Long: "Deliver to Foreman, or to another destination, what an edge elsewhere has stored. It dials out to the edge's broker and needs no port\n" +
			"of its own. A drain is for one destination: the one that its certificate names.",
		Example: "  foreman-relay drain --broker tls://edge.example.com:4223 --broker-ca pki/ca.crt --broker-cert pki/drain.crt --broker-key pki/drain.key" +
			" --foreman-url https://foreman.example.com"}
	addSettings(c.Flags(), drainSettings())
	c.RunE = func(c *cobra.Command, _ []string) error {
		config, err := loadConfig(c, drainSettings(), p.env)
		if err != nil {
			return err
		}
		ctx, stop := untilSignal(c.Context())
		defer stop()
		defer tuneMemory()()
		return Drain(ctx, config, variable(p.env), p.stderr)
	}
	return c
}

// Drain runs a far drain until ctx ends.
func Drain(ctx context.Context, c Config, env func(string) string, stderr io.Writer) error {
	if err := c.complete("foreman-relay-drain", env); err != nil {
		return err
	}
	if err := c.checkDrain(); err != nil {
		return err
	}
	log := newLog(c.Log, stderr)
	stop := stack{log: log}
	defer stop.stop()
	lock, err := broker.LockDir(c.StateDir)
	if err != nil {
		return err
	}
	stop.push("lock", time.Second, func(context.Context) { _ = lock.Unlock() }) // the kernel unlocks in any case
	instance, err := instanceOf(c.StateDir)
	if err != nil {
		return err
	}
	to, err := c.outletOf(c.Broker.Destination)
	if err != nil {
		return err
	}
	channel, err := broker.Dial(broker.DialOptions{URL: c.Broker.URL, Destination: c.Broker.Destination, CAFile: c.Broker.CA,
		CertFile: c.Broker.Cert, KeyFile: c.Broker.Key, CRLFile: c.Broker.CRL, Log: log})
	if err != nil {
		return usage(err)
	}
	registry := prometheus.NewRegistry()
	all, err := newDrainers(c, instance, newDrainMetrics(registry, []string{to.name}), log)
	if err != nil {
		channel.Close()
		return err
	}
	all.add(to, channel)
	end := all.start()
	stop.push("drain", c.Limits.StopTimeout+cutOff, func(context.Context) { end() })
	silence, err := all.all[0].servePasses(c)
	if err != nil {
		return err
	}
	stop.push("passing on", time.Second, func(context.Context) { silence() })
	endSwitch, err := startSwitch(c, channel, newSwitchMetrics(registry), log)
	if err != nil {
		return err
	}
	stop.push("switch", time.Second, func(context.Context) { endSwitch() }) // before its channel is closed
	announce(c.Log, log, stderr, fmt.Sprintf("foreman-relay %s drains %s to %s as %s, state in %s", Version(), c.Broker.URL, addresses([]outlet{to}), instance, c.StateDir),
		map[string]any{"broker": c.Broker.URL, "foreman": c.Foreman.URL, "instance": instance, "state_dir": c.StateDir})
	<-ctx.Done()
	log.Info().Msg("stopping")
	return nil
}

func (c *Config) checkDrain() error {
	var problems []error
	for _, need := range [][2]string{{"broker", c.Broker.URL}, {"broker-ca", c.Broker.CA}, {"broker-cert", c.Broker.Cert},
		{"broker-key", c.Broker.Key}} {
		if need[1] == "" {
			problems = append(problems, fmt.Errorf("a drain needs --%s", need[0]))
		}
	}
	problems = append(problems, c.checkDrainsTo(), broker.CheckQueue(relay.Queue{Organization: relay.DefaultOrganization, Destination: c.Broker.Destination}))
	return usage(errors.Join(append(problems, c.checkPairs(), c.checkFiles(), c.checkChoices(), c.checkDestinations(), c.checkLimits(), c.checkRoutes(), c.Switch.check(), c.checkDrainSwitch())...))
}

// checkDrainsTo: the one destination of a drain has an address.
func (c *Config) checkDrainsTo() error {
	name := c.Broker.Destination
	switch {
	case name == relay.ForemanDestination && c.Foreman.URL == "":
		return errors.New("a drain needs --foreman-url")
	case name != relay.ForemanDestination && c.Destinations[name].URL == "":
		return fmt.Errorf("a drain for %q needs destinations.%s.url in its configuration: that is where it delivers to", name, name)
	}
	return nil
}

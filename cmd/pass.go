package cmd

import (
	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/foreman"
)

// pass is how the edge passes on what only Foreman can answer.
func (s *server) pass() handlers.PassOptions {
	c := s.config.PassThrough
	o := handlers.PassOptions{Closed: s.passClosed, Loopback: s.config.alone(), Callers: c.Callers, Passes: s.config.passes()}
	switch {
	case s.foreman != nil:
		o.Passer = s.foreman
	case s.config.Broker.Listen != "":
		o.Passer = s.broker.Passer(relay.ForemanDestination, c.Concurrency)
	}
	if c.Stale {
		o.StaleEntries, o.StaleBytes = c.StaleEntries, int64(c.StaleBytes)
	}
	return o
}

// passes are the requests that are passed on, with their bounds; edge and drain
// have the same list, and each holds to its own.
func (c *Config) passes() []relay.Pass {
	p := c.PassThrough
	return foreman.Passes(foreman.PassLimits{NodeTimeout: p.NodeTimeout, Timeout: p.Timeout, MaxBody: int64(p.MaxBody),
		MaxNode: int64(p.MaxNode), MaxAnswer: int64(p.MaxAnswer)})
}

// notAsked is why Foreman is not asked while the drain's circuit is open.
const notAsked = "Foreman is not asked at this moment: it is away, or does not let the relay in"

// passClosed says why Foreman cannot be asked at this moment. What the drain has
// found out need not be found out again by callers that wait.
func (s *server) passClosed() string {
	switch {
	case !s.config.PassThrough.Enabled:
		return "this is not passed on to Foreman: pass_through.enabled is false"
	case s.foreman == nil && s.config.Broker.Listen != "":
		return "" // the drains know
	case s.foreman == nil:
		return "Foreman cannot be reached from here: give --foreman-url, or --broker-listen and run a drain"
	case s.drain.Gate.Open():
		return notAsked
	}
	return ""
}

// servePasses has a far drain answer what its edge passes on.
func (d *drainer) servePasses(c Config) (stop func(), err error) {
	passer, isForeman := d.outlet.to.(relay.Passer)
	if !c.PassThrough.Enabled || !isForeman {
		return func() {}, nil
	}
	return d.channel.ServePasses(broker.PassService{Passes: c.passes(), Passer: passer, Closed: func() string {
		if d.drain.Gate.Open() {
			return notAsked
		}
		return ""
	}})
}

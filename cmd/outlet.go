package cmd

import (
	"fmt"
	"strings"
	"time"

	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/foreman"
	"github.com/theforeman/foreman-relay/relay/outgoing"
)

// outlet is one destination as a drain delivers to it.
type outlet struct {
	name    string
	url     string
	to      relay.Destination
	close   func()
	longest time.Duration // of an attempt
	gate    relay.GateOptions
	budget  relay.BudgetOptions
	knows   func(route string) bool
}

func (c *Config) foremanOutlet(client *foreman.Client) outlet {
	return outlet{name: relay.ForemanDestination, url: c.Foreman.URL, to: client, close: client.Close, longest: c.Foreman.AttemptTimeout,
		gate: c.gate(), budget: relay.BudgetOptions{Percent: c.Foreman.RetryPercent, Floor: c.Foreman.RetryFloor}, knows: c.knows()}
}

// serviceOutlet is a destination of kind http. It knows no requests of Foreman's
// clients: nothing converts them for it.
func (c *Config) serviceOutlet(name string) (outlet, error) {
	d, configured := c.Destinations[name]
	if !configured {
		return outlet{}, usage(fmt.Errorf("there is no destination %q: describe it in destinations, with its url", name))
	}
	service, err := d.service(name)
	if err != nil {
		return outlet{}, err
	}
	return d.outlet(name, service), nil
}

func (d Destination) outlet(name string, service *outgoing.Service) outlet {
	d = d.filled()
	return outlet{name: name, url: d.URL, to: service, close: service.Close, longest: d.Timeout, gate: d.gate(),
		budget: relay.DefaultBudgetOptions(), knows: func(route string) bool { return route == messageRoute }}
}

// outletOf is one destination by its name.
func (c *Config) outletOf(name string) (outlet, error) {
	if name != relay.ForemanDestination {
		return c.serviceOutlet(name)
	}
	client, err := newForeman(*c)
	if err != nil {
		return outlet{}, err
	}
	return c.foremanOutlet(client), nil
}

// outlets are the destinations that are delivered to from here: those with a URL.
// One that cannot be used is told before anything is made.
func (c *Config) outlets() (all []outlet, client *foreman.Client, err error) {
	defer func() {
		if err != nil {
			for _, o := range all {
				o.close()
			}
		}
	}()
	if c.Foreman.URL != "" {
		if client, err = newForeman(*c); err != nil {
			return nil, nil, err
		}
		all = append(all, c.foremanOutlet(client))
	}
	for _, name := range c.destinations()[1:] {
		if c.Destinations[name].URL == "" {
			continue
		}
		o, err := c.serviceOutlet(name)
		if err != nil {
			return all, nil, err
		}
		all = append(all, o)
	}
	return all, client, nil
}

func newForeman(c Config) (*foreman.Client, error) {
	o := c.Foreman.options(c.Foreman.AttemptTimeout, c.Foreman.Concurrency)
	var err error
	if o.Credentials, err = c.credentials(); err != nil {
		return nil, usage(err)
	}
	client, err := foreman.New(foreman.Options{Options: o, PassConcurrency: c.PassThrough.Concurrency,
		OpenSCAPProxyName: c.Foreman.OpenSCAPProxyName, OpenSCAPProxyURL: c.Foreman.OpenSCAPProxyURL})
	return client, usage(err)
}

// addresses tells people where is delivered to.
func addresses(all []outlet) string {
	var list []string
	for _, o := range all {
		if o.name == relay.ForemanDestination {
			list = append(list, o.url)
		} else {
			list = append(list, o.name+" at "+o.url)
		}
	}
	return strings.Join(list, ", ")
}

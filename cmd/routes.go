package cmd

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/foreman"
)

// messageRoute is the name under which messages of the queue endpoint are kept.
const messageRoute = relay.GenericRoute

// RouteConfig is what a route has otherwise than the rest, by its name in
// `routes`. What is not given is as below `limits`, or the route's own.
type RouteConfig struct {
	MaxAge        time.Duration `yaml:"max_age,omitempty"`
	Expires       time.Duration `yaml:"expires,omitempty"`      // nobody needs its messages afterwards
	MaxAttempts   int           `yaml:"max_attempts,omitempty"` // failed ones in all
	QuickAttempts int           `yaml:"quick_attempts,omitempty"`
	MaxCycles     int           `yaml:"max_cycles,omitempty"`
	FirstDelay    time.Duration `yaml:"first_delay,omitempty"`
	CycleDelay    time.Duration `yaml:"cycle_delay,omitempty"`
	SlowDelay     time.Duration `yaml:"slow_delay,omitempty"`
	MaxDelay      time.Duration `yaml:"max_delay,omitempty"`
	OnPoison      relay.Poison  `yaml:"on_poison,omitempty"` // move, pause or discard
	Latest        *bool         `yaml:"latest,omitempty"`    // only the newest message of a lane is delivered
	Priority      string        `yaml:"priority,omitempty"`  // urgent or bulk
	MaxBody       ByteSize      `yaml:"max_body,omitempty"`

	RetryAmbiguous *bool `yaml:"retry_ambiguous,omitempty"` // after an attempt of which nobody knows what came
}

// The priorities of a route.
const (
	priorityUrgent = "urgent"
	priorityBulk   = "bulk"
)

// knownRoutes are the names that `routes` may hold.
func knownRoutes() []string { return append(routeNames(), messageRoute) }

// routes are the requests that are taken for Foreman, as configured.
func (c *Config) routes() []relay.Route {
	routes := foreman.Routes(c.policy())
	for i := range routes {
		r := c.Routes[routes[i].Name]
		routes[i].Policy = r.over(routes[i].Policy, c.policy())
		if r.MaxBody > 0 {
			routes[i].MaxBody = int64(r.MaxBody)
		}
		if r.Priority != "" {
			routes[i].Urgent = r.Priority == priorityUrgent
		}
	}
	return routes
}

// policies are those of the routes by their name; of a route that is not known
// any more it is the general one.
func (c *Config) policies() func(route string) relay.Policy {
	general := c.policy()
	of := map[string]relay.Policy{messageRoute: c.Routes[messageRoute].over(general, general)}
	for _, r := range c.routes() {
		of[r.Name] = r.Policy
	}
	return func(route string) relay.Policy {
		if p, ok := of[route]; ok {
			return p
		}
		return general
	}
}

// knows says whether the drain has a policy of a route: what it does not know it
// does not guess at.
func (c *Config) knows() func(route string) bool {
	known := knownRoutes()
	return func(route string) bool { return slices.Contains(known, route) }
}

// latest are the routes of whose waiting messages only the newest is delivered; a
// drain that is told otherwise delivers each.
func (c *Config) latest() []string {
	var names []string
	policy := c.policies()
	for _, name := range knownRoutes() {
		if policy(name).Latest {
			names = append(names, name)
		}
	}
	return names
}

// over is the policy of a route with what is configured for it.
func (r RouteConfig) over(p, general relay.Policy) relay.Policy {
	expires := r.Expires
	if expires == 0 && p.Expires {
		expires = p.MaxAge
	}
	p.MaxAge, p.Expires = cmp.Or(r.MaxAge, general.MaxAge), false
	if expires > 0 {
		p = p.Expiring(expires)
	}
	if r.QuickAttempts > 0 || r.MaxCycles > 0 { // they bound this route then, not the general number
		p.MaxAttempts = 0
	}
	p.MaxAttempts = cmp.Or(r.MaxAttempts, p.MaxAttempts)
	p.QuickAttempts = cmp.Or(r.QuickAttempts, p.QuickAttempts)
	p.MaxCycles = cmp.Or(r.MaxCycles, p.MaxCycles)
	p.FirstDelay = cmp.Or(r.FirstDelay, p.FirstDelay)
	p.CycleDelay = cmp.Or(r.CycleDelay, p.CycleDelay)
	p.SlowDelay = cmp.Or(r.SlowDelay, p.SlowDelay)
	p.MaxDelay = cmp.Or(r.MaxDelay, p.MaxDelay)
	p.OnPoison = cmp.Or(r.OnPoison, p.OnPoison)
	if r.Latest != nil {
		p.Latest = *r.Latest
	}
	if r.RetryAmbiguous != nil {
		p.GiveUpAmbiguous = !*r.RetryAmbiguous
	}
	return p
}

func (c *Config) checkRoutes() error {
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(c.Routes)) {
		r, key := c.Routes[name], "routes."+name
		if !slices.Contains(knownRoutes(), name) { // not from a file: that was checked with its line
			problems = append(problems, unknownRoute(name))
			continue
		}
		problems = append(problems, r.check(key, mostBody(name)))
		if r.Latest != nil && *r.Latest && name != messageRoute && name != "facts" {
			problems = append(problems, fmt.Errorf("%s.latest is true: each of these counts, and none replaces another; only facts and message can be so", key))
		}
		if name == messageRoute && (r.MaxBody > 0 || r.Priority != "") {
			problems = append(problems, fmt.Errorf("%s: max_body and priority are for routes of Foreman's clients; limits.max_body bounds these messages, and who sends one says how urgent it is", key))
		}
	}
	return errors.Join(problems...)
}

func unknownRoute(name string) error {
	return fmt.Errorf("there is no route %q; the routes are %s", name, strings.Join(knownRoutes(), ", "))
}

// mostBody bounds max_body: a body of a route is read into memory, to be looked at.
func mostBody(route string) ByteSize {
	return ByteSize(cmp.Or(foreman.MostBody(route), broker.DefaultMaxBody))
}

func (r RouteConfig) check(key string, mostBody ByteSize) error {
	return errors.Join(
		given(key+".max_age", r.MaxAge, time.Minute, 90*24*time.Hour),
		given(key+".expires", r.Expires, time.Minute, 90*24*time.Hour),
		given(key+".max_attempts", r.MaxAttempts, 1, 10_000),
		given(key+".quick_attempts", r.QuickAttempts, 1, 100),
		given(key+".max_cycles", r.MaxCycles, 1, 1000),
		given(key+".first_delay", r.FirstDelay, time.Millisecond, 24*time.Hour),
		given(key+".cycle_delay", r.CycleDelay, time.Millisecond, 24*time.Hour),
		given(key+".slow_delay", r.SlowDelay, time.Millisecond, 24*time.Hour),
		given(key+".max_delay", r.MaxDelay, time.Millisecond, 24*time.Hour),
		given(key+".max_body", r.MaxBody, 1<<10, mostBody),
		among(key+".on_poison", r.OnPoison, append(relay.Poisons(), "")),
		among(key+".priority", r.Priority, []string{priorityUrgent, priorityBulk, ""}),
	)
}

// given is within, for a value that may be left out.
func given[T int | ByteSize | time.Duration](key string, v, low, high T) error {
	if v == 0 {
		return nil
	}
	return within(key, v, low, high)
}

// among checks a choice; an empty one that is taken goes without saying.
func among[T ~string](key string, v T, choices []T) error {
	if slices.Contains(choices, v) {
		return nil
	}
	names := make([]string, 0, len(choices))
	for _, c := range choices {
		if c != "" {
			names = append(names, string(c))
		}
	}
	return fmt.Errorf("%s is %q; choose one of %s", key, v, strings.Join(names, " "))
}

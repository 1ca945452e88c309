package cmd

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/outgoing"
)

// kindHTTP is the one kind of destination that `destinations` may name.
const kindHTTP = "http"

// Destination is a further destination, by its name in `destinations`: any
// service that takes requests. Each organization has a queue for it. Without a
// URL it is delivered to from elsewhere, by a drain that has one.
type Destination struct {
	Kind              string `yaml:"kind" json:"kind"`
	Reach             `yaml:",inline"`
	AuthorizationFile string        `yaml:"authorization_file" json:"authorization_file"` // holds the value of the header Authorization
	Timeout           time.Duration `yaml:"timeout" json:"timeout"`                       // of an attempt
	Concurrency       int           `yaml:"concurrency" json:"concurrency"`               // attempts at one time, at most
	Rate              float64       `yaml:"rate" json:"rate"`                             // attempts a second, at most; 0: no bound
	Burst             int           `yaml:"burst" json:"burst"`                           // that may begin at once where the rate was not used before
	ProbeInterval     time.Duration `yaml:"probe_interval" json:"probe_interval"`
	ProbePath         string        `yaml:"probe_path" json:"probe_path"` // below url; empty: url itself
	MaxAnswer         ByteSize      `yaml:"max_answer" json:"max_answer"` // bytes that are read of an answer

	outward bool // it is of Foreman's document, which opens no inward address
}

// filled is d with what goes without saying.
func (d Destination) filled() Destination {
	gate := relay.DefaultGateOptions()
	d.Reach = d.Reach.filled(true)
	d.Kind = cmp.Or(d.Kind, kindHTTP)
	d.Timeout = cmp.Or(d.Timeout, outgoing.DefaultAttemptTimeout)
	d.Concurrency = cmp.Or(d.Concurrency, gate.Concurrency)
	d.Burst = cmp.Or(d.Burst, gate.Burst)
	d.ProbeInterval = cmp.Or(d.ProbeInterval, gate.ProbeInterval)
	d.MaxAnswer = cmp.Or(d.MaxAnswer, outgoing.DefaultMaxAnswer)
	return d
}

func (d Destination) check(key string) error {
	return errors.Join(d.Reach.check(key), among(key+".kind", d.Kind, []string{"", kindHTTP}),
		exists(key+".authorization_file", d.AuthorizationFile),
		given(key+".timeout", d.Timeout, 100*time.Millisecond, 10*time.Minute),
		given(key+".concurrency", d.Concurrency, 1, 1024),
		within(key+".rate", d.Rate, 0, 10_000),
		given(key+".burst", d.Burst, 1, 10_000),
		given(key+".probe_interval", d.ProbeInterval, 10*time.Millisecond, 5*time.Second),
		given(key+".max_answer", d.MaxAnswer, 1<<10, 16<<20),
		d.checkProbe(key))
}

func (d Destination) checkProbe(key string) error {
	if d.ProbePath == "" {
		return nil
	}
	if err := relay.CheckPath(d.ProbePath); err != nil {
		return fmt.Errorf("%s.probe_path: %w", key, err)
	}
	return nil
}

// service is the destination as it is delivered to.
func (d Destination) service(name string) (*outgoing.Service, error) {
	d = d.filled()
	o := d.options(d.Timeout, d.Concurrency)
	o.Name, o.AuthorizationFile, o.MaxAnswer, o.Outward = "destinations."+name, d.AuthorizationFile, int64(d.MaxAnswer), d.outward
	client, err := outgoing.New(o)
	if err != nil {
		return nil, usage(err)
	}
	return &outgoing.Service{Client: client, Probed: d.ProbePath, Now: time.Now}, nil
}

func (d Destination) gate() relay.GateOptions {
	o := relay.DefaultGateOptions()
	o.Concurrency, o.ProbeInterval, o.Rate, o.Burst = d.Concurrency, d.ProbeInterval, d.Rate, d.Burst
	return o
}

// destinations are the names of all, Foreman always among them and first.
func (c *Config) destinations() []string {
	return append([]string{relay.ForemanDestination}, slices.Sorted(maps.Keys(c.Destinations))...)
}

func (c *Config) checkDestinations() error {
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(c.Destinations)) {
		key := "destinations." + name
		if name == relay.ForemanDestination {
			problems = append(problems, fmt.Errorf("%s: Foreman is configured in foreman, not here", key))
			continue
		}
		if err := broker.CheckQueue(relay.Queue{Organization: relay.DefaultOrganization, Destination: name}); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", key, err))
		}
		problems = append(problems, c.Destinations[name].check(key))
	}
	return errors.Join(problems...)
}

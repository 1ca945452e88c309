package cmd

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

// check says all that is wrong with a configuration at once: each error names
// the key, its value, and what it should be.
func (c *Config) check() error {
	problems := []error{c.checkListen(), c.checkPairs(), c.checkFiles(), c.checkChoices(), c.checkQueues(), c.checkDestinations(), c.checkWeights(), c.checkLimits(), c.checkRoutes(), c.checkIdentity(), c.SmartProxy.check(), c.Switch.check(), c.checkReading(), c.checkSealing()}
	return usage(errors.Join(problems...))
}

func (c *Config) checkListen() error {
	local, err := isLoopback(c.Listen)
	if err != nil {
		return err
	}
	if !local && (c.TLS.Cert == "" || c.TLS.Key == "") {
		return fmt.Errorf("listen %s can be reached from other machines: give tls.cert and tls.key (--tls-cert, --tls-key), or listen on 127.0.0.1", c.Listen)
	}
	return nil
}

func (c *Config) checkPairs() error {
	var problems []error
	for _, p := range []struct{ name, cert, key string }{
		{"tls", c.TLS.Cert, c.TLS.Key}, {"broker", c.Broker.Cert, c.Broker.Key}} {
		if (p.cert == "") != (p.key == "") {
			problems = append(problems, fmt.Errorf("%s.cert and %s.key must be given together", p.name, p.name))
		}
	}
	if c.TLS.ClientCA != "" && c.TLS.Cert == "" {
		problems = append(problems, errors.New("tls.client_ca needs tls.cert and tls.key: clients cannot be asked for certificates without TLS"))
	}
	if c.Broker.Listen != "" && (c.Broker.Cert == "" || c.Broker.CA == "") {
		problems = append(problems, errors.New("broker.listen needs broker.cert, broker.key and broker.ca: far drains are let in over mutual TLS only (`foreman-relay pki init` makes them)"))
	}
	return errors.Join(problems...)
}

func (c *Config) checkFiles() error {
	var problems []error
	for _, f := range [][2]string{{"tls.cert", c.TLS.Cert}, {"tls.key", c.TLS.Key}, {"tls.client_ca", c.TLS.ClientCA},
		{"broker.cert", c.Broker.Cert}, {"broker.key", c.Broker.Key}, {"broker.ca", c.Broker.CA}, {"broker.crl", c.Broker.CRL}} {
		problems = append(problems, exists(f[0], f[1]))
	}
	for _, crl := range c.TLS.CRL {
		problems = append(problems, exists("tls.crl", crl))
	}
	return errors.Join(append(problems, c.Foreman.check("foreman"))...)
}

func (c *Config) checkChoices() error {
	var problems []error
	if _, err := broker.ParseMode(c.Durability); err != nil {
		problems = append(problems, err)
	}
	return errors.Join(append(problems,
		among("log.format", c.Log.Format, []string{"", "json", "console"}),
		among("log.level", c.Log.Level, []string{"debug", "info", "warn", "error"}),
		among("organizations_off", c.OrganizationsOff, broker.OffChoices()),
		among("limits.on_poison", c.Limits.OnPoison, relay.Poisons()))...)
}

func (c *Config) checkQueues() error {
	var problems []error
	for _, q := range c.queues() {
		if q.Destination == relay.ForemanDestination { // the others are told of once, not for every organization
			problems = append(problems, broker.CheckQueue(q))
		}
	}
	return errors.Join(problems...)
}

func (c *Config) checkLimits() error {
	l, f, p := c.Limits, c.Foreman, c.PassThrough
	return errors.Join(
		within("limits.quota", l.Quota, 1<<20, broker.MaxQuota),
		within("limits.dead_letter_quota", l.DeadLetterQuota, 1<<20, broker.MaxQuota),
		within("limits.reserve", l.Reserve, 0, 1<<50),
		within("limits.max_waiting", l.MaxWaiting, 1, 100_000),
		within("limits.max_body", l.MaxBody, 1<<10, broker.MaxBody),
		within("limits.max_uploads", l.MaxUploads, 1, 1024),
		within("limits.max_connections", l.MaxConnections, 0, 1_000_000),
		within("limits.max_per_address", l.MaxPerAddress, 0, 1_000_000),
		within("limits.max_streams", l.MaxStreams, 1, 10_000),
		within("limits.max_header", l.MaxHeader, 4<<10, 1<<20),
		within("limits.header_timeout", l.HeaderTimeout, 100*time.Millisecond, 2*time.Minute),
		within("limits.idle_timeout", l.IdleTimeout, time.Second, time.Hour),
		within("limits.body_timeout", l.BodyTimeout, time.Second, 10*time.Minute),
		within("limits.journal_window", l.JournalWindow, time.Second, 30*24*time.Hour),
		within("limits.record_window", l.RecordWindow, time.Minute, 90*24*time.Hour),
		within("limits.stop_timeout", l.StopTimeout, time.Second, 10*time.Minute),
		within("limits.max_age", l.MaxAge, time.Minute, 90*24*time.Hour),
		within("limits.max_attempts", l.MaxAttempts, 0, 10000),
		within("limits.quick_attempts", l.QuickAttempts, 1, 100),
		within("limits.max_cycles", l.MaxCycles, 1, 1000),
		within("limits.cycle_delay", l.CycleDelay, time.Millisecond, 24*time.Hour), // max_delay caps it: a file of before may set that lower
		within("limits.first_delay", l.FirstDelay, time.Millisecond, l.MaxDelay),
		within("limits.slow_delay", l.SlowDelay, time.Millisecond, l.MaxDelay),
		within("limits.max_delay", l.MaxDelay, time.Millisecond, 24*time.Hour),
		within("limits.index_entries", l.IndexEntries, 16, 10_000_000),
		within("limits.index_lane", l.IndexLane, 1, l.IndexEntries),
		within("limits.index_parked", l.IndexParked, 0, 10_000_000),
		within("foreman.retry_percent", f.RetryPercent, 0, 100),
		within("foreman.retry_floor", f.RetryFloor, 1, 10_000),
		within("limits.delivery_window", l.DeliveryWindow, 0, 90*24*time.Hour),
		within("foreman.attempt_timeout", f.AttemptTimeout, 100*time.Millisecond, 10*time.Minute),
		within("foreman.concurrency", f.Concurrency, 1, 1024),
		within("pass_through.node_timeout", p.NodeTimeout, 100*time.Millisecond, longestPass),
		within("pass_through.timeout", p.Timeout, 100*time.Millisecond, longestPass),
		within("pass_through.concurrency", p.Concurrency, 1, 1024),
		within("pass_through.max_body", p.MaxBody, 1<<10, 16<<20),
		within("pass_through.max_node", p.MaxNode, 1<<10, 16<<20),
		within("pass_through.max_answer", p.MaxAnswer, 1<<10, 1<<30),
		within("pass_through.stale_entries", p.StaleEntries, 1, 1_000_000),
		within("pass_through.stale_bytes", p.StaleBytes, 1<<10, 1<<40),
		within("foreman.probe_interval", f.ProbeInterval, 10*time.Millisecond, 5*time.Second),
		f.checkRate(),
		c.Rates.check(),
		quotaStatus(l.QuotaStatus),
	)
}

// checkWeights: a share is of an organization that is known here.
func (c *Config) checkWeights() error {
	var problems []error
	queues := c.queues()
	for _, organization := range slices.Sorted(maps.Keys(c.Foreman.Weights)) {
		if !slices.ContainsFunc(queues, func(q relay.Queue) bool { return q.Organization == organization }) {
			problems = append(problems, fmt.Errorf("foreman.weights names %q; there is no such organization: add it to organizations, or leave it out", organization))
		}
	}
	return errors.Join(problems...)
}

func (f *Foreman) checkRate() error {
	problems := []error{within("foreman.rate", f.Rate, 0, 10_000), within("foreman.burst", f.Burst, 1, 10_000)}
	for _, organization := range slices.Sorted(maps.Keys(f.Weights)) {
		problems = append(problems, within("foreman.weights."+organization, f.Weights[organization], 1, 1000))
	}
	return errors.Join(problems...)
}

// longestPass leaves the edge time to write, which it has two minutes for.
const longestPass = 90 * time.Second

func within[T int | float64 | ByteSize | time.Duration](key string, v, low, high T) error {
	if v < low || v > high {
		return fmt.Errorf("%s is %v; it must be from %v to %v", key, v, low, high)
	}
	return nil
}

func (r Rates) check() error {
	const most = 1_000_000
	return errors.Join(
		within("rates.per_second", r.PerSecond, 0, most),
		within("rates.burst", r.Burst, 0, most),
		within("rates.sender_per_second", r.SenderPerSecond, 0, most),
		within("rates.sender_burst", r.SenderBurst, 0, most),
		within("rates.senders", r.Senders, 1, 10_000_000),
	)
}

func quotaStatus(status int) error {
	if status != http.StatusInsufficientStorage && status != http.StatusTooManyRequests {
		return fmt.Errorf("limits.quota_status is %d; it must be 507 or 429", status)
	}
	return nil
}

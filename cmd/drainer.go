package cmd

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/foreman"
	"github.com/theforeman/foreman-relay/relay/seal"
)

// drainer is the drain as both commands run it: the channel is all that differs.
type drainer struct {
	client  *foreman.Client
	drain   *relay.Drain
	metrics *drainMetrics
	before  delivered
}

func newForeman(c Config) (*foreman.Client, error) {
	credentials, err := c.credentials()
	if err != nil {
		return nil, usage(err)
	}
	client, err := foreman.New(foreman.Options{URL: c.Foreman.URL, CAFile: c.Foreman.CA, CertFile: c.Foreman.Cert, KeyFile: c.Foreman.Key,
		AttemptTimeout: c.Foreman.AttemptTimeout, Connections: c.Foreman.Concurrency, PassConcurrency: c.PassThrough.Concurrency, Credentials: credentials,
		UserAgent:         "foreman-relay/" + Version(),
		OpenSCAPProxyName: c.Foreman.OpenSCAPProxyName, OpenSCAPProxyURL: c.Foreman.OpenSCAPProxyURL})
	return client, usage(err)
}

func newDrainer(c Config, client *foreman.Client, channel *broker.Channel, instance string, metrics *drainMetrics, log zerolog.Logger) (*drainer, error) {
	before, err := openDelivered(c, log)
	if err != nil {
		return nil, err
	}
	keys, err := seal.OpenKeyring(c.keysDir(), time.Now, log)
	if err != nil {
		before.close()
		return nil, err
	}
	d := &drainer{client: client, metrics: metrics, before: before}
	ways := relay.NewGate(c.gate(), client.Probe)
	metrics.gate.gate.Store(ways)
	d.drain = relay.NewDrain(relay.DrainOptions{
		Instance: instance, Session: rand.Text(), LongestAttempt: c.Foreman.AttemptTimeout, StopTimeout: c.Limits.StopTimeout,
		Registrar: channel, Nudged: channel.Nudged(), Journal: channel.Journal, Destination: &seal.Destination{Destination: client, Keys: keys, Log: log}, Recipients: keys.Recipients, Gate: ways,
		Policy: c.policies(), Knows: c.knows(),
		Limits: relay.IndexLimits{Entries: c.Limits.IndexEntries, Lane: c.Limits.IndexLane, Parked: c.Limits.IndexParked}, Now: time.Now, Log: log, Observe: metrics.observe,
		Deliveries: before.seam(), Budget: relay.NewBudget(relay.BudgetOptions{Percent: c.Foreman.RetryPercent, Floor: c.Foreman.RetryFloor}),
	})
	return d, nil
}

// cutOff is what a drain may need beyond StopTimeout: to cut off what is still
// under way and to give its leases back.
const cutOff = 5 * time.Second

// start runs the drain; the function it returns stops it and waits.
func (d *drainer) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = d.drain.Run(ctx) // its end is what stop waits for
	}()
	return func() {
		cancel()
		<-done
		d.client.Close()
		d.before.close()
	}
}

// drainMetrics count the attempts; every family is there from the start.
type drainMetrics struct {
	attempts *prometheus.CounterVec
	duration prometheus.Histogram
	gate     *gateMetrics

	ambiguous, before *prometheus.CounterVec
}

func newDrainMetrics(r prometheus.Registerer) *drainMetrics {
	m := &drainMetrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "foreman_relay_attempts_total",
			Help: "Attempts to deliver, by destination and what the answer meant."}, []string{"destination", "class"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "foreman_relay_attempt_duration_seconds",
			Help: "Time of an attempt.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 17)}),
		gate: newGateMetrics(),
	}
	m.ambiguous = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "foreman_relay_ambiguous_attempts_total",
		Help: "Attempts that were sent, and of which nobody knows what came, by destination; they are among the attempts."}, []string{"destination"})
	m.before = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "foreman_relay_delivered_before_total",
		Help: "Messages that were not sent again because the drain's own record has them, by destination."}, []string{"destination"})
	r.MustRegister(m.attempts, m.duration, m.gate, m.ambiguous, m.before)
	for _, class := range []relay.Class{relay.ClassDelivered, relay.ClassAlready, relay.ClassRejected, relay.ClassTransient,
		relay.ClassNotReady, relay.ClassDenied, relay.ClassOutage} {
		m.attempts.WithLabelValues(relay.ForemanDestination, string(class))
	}
	m.ambiguous.WithLabelValues(relay.ForemanDestination)
	m.before.WithLabelValues(relay.ForemanDestination)
	return m
}

func (m *drainMetrics) observe(a relay.AttemptReport) {
	if a.Outcome.Reason == relay.ReasonDeliveredBefore { // nothing was attempted
		m.before.WithLabelValues(a.Queue.Destination).Inc()
		return
	}
	m.attempts.WithLabelValues(a.Queue.Destination, string(a.Result.Class)).Inc()
	if a.Result.Ambiguous {
		m.ambiguous.WithLabelValues(a.Queue.Destination).Inc()
	}
	m.duration.Observe(a.Took.Seconds())
}

package cmd

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/seal"
)

// drainer is the drain of one destination as both commands run it: the channel
// is all that differs.
type drainer struct {
	outlet  outlet
	channel *broker.Channel
	drain   *relay.Drain
}

// drainers are all of one process. They share its record of deliveries.
type drainers struct {
	config   Config
	instance string
	before   delivered
	keys     *seal.Keyring
	metrics  *drainMetrics
	log      zerolog.Logger
	all      []*drainer
}

func newDrainers(c Config, instance string, metrics *drainMetrics, log zerolog.Logger) (*drainers, error) {
	before, err := openDelivered(c, log)
	if err != nil {
		return nil, err
	}
	keys, err := seal.OpenKeyring(c.keysDir(), time.Now, log)
	if err != nil {
		before.close()
		return nil, err
	}
	return &drainers{config: c, instance: instance, before: before, keys: keys, metrics: metrics, log: log}, nil
}

// add makes a drain for one more destination; it closes the channel at its stop.
func (ds *drainers) add(o outlet, channel *broker.Channel) *relay.Drain {
	c, ways := ds.config, relay.NewGate(o.gate, o.to.Probe)
	ds.metrics.gate.watch(o.name, ways)
	d := &drainer{outlet: o, channel: channel, drain: relay.NewDrain(relay.DrainOptions{
		Instance: ds.instance, Session: rand.Text(), LongestAttempt: o.longest, StopTimeout: c.Limits.StopTimeout,
		Registrar: channel, Nudged: channel.Nudged(), Journal: channel.Journal, Destination: &seal.Destination{Destination: o.to, Keys: ds.keys, Longest: o.longest, Log: ds.log}, Recipients: ds.keys.Recipients, Gate: ways,
		Policy: c.policies(), Knows: o.knows,
		Limits: relay.IndexLimits{Entries: c.Limits.IndexEntries, Lane: c.Limits.IndexLane, Parked: c.Limits.IndexParked}, Now: time.Now, Log: ds.log, Observe: ds.metrics.observe,
		Deliveries: ds.before.seam(), Budget: relay.NewBudget(o.budget),
	})}
	ds.all = append(ds.all, d)
	return d.drain
}

// cutOff is what a drain may need beyond StopTimeout: to cut off what is still
// under way and to give its leases back.
const cutOff = 5 * time.Second

// start runs all drains; the function it returns stops them and waits.
func (ds *drainers) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, d := range ds.all {
		running.Go(func() {
			_ = d.drain.Run(ctx) // its end is what stop waits for
		})
	}
	return func() {
		cancel()
		running.Wait()
		ds.close()
	}
}

// close gives back what the drains have used; none runs.
func (ds *drainers) close() {
	for _, d := range ds.all {
		d.outlet.close()
		d.channel.Close()
	}
	ds.before.close()
}

// drainMetrics count the attempts; every family is there from the start.
type drainMetrics struct {
	attempts *prometheus.CounterVec
	duration *prometheus.HistogramVec
	gate     *gateMetrics

	ambiguous, before *prometheus.CounterVec
}

func newDrainMetrics(r prometheus.Registerer, destinations []string) *drainMetrics {
	m := &drainMetrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "foreman_relay_attempts_total",
			Help: "Attempts to deliver, by destination and what the answer meant."}, []string{"destination", "class"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "foreman_relay_attempt_duration_seconds",
			Help: "Time of an attempt, by destination.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 17)}, []string{"destination"}),
		gate: newGateMetrics(destinations),
	}
	m.ambiguous = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "foreman_relay_ambiguous_attempts_total",
		Help: "Attempts that were sent, and of which nobody knows what came, by destination; they are among the attempts."}, []string{"destination"})
	m.before = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "foreman_relay_delivered_before_total",
		Help: "Messages that were not sent again because the drain's own record has them, by destination."}, []string{"destination"})
	r.MustRegister(m.attempts, m.duration, m.gate, m.ambiguous, m.before)
	for _, d := range destinations {
		m.begin(d)
	}
	return m
}

// begin shows the families of a destination before there is anything to count.
func (m *drainMetrics) begin(destination string) {
	for _, class := range []relay.Class{relay.ClassDelivered, relay.ClassAlready, relay.ClassRejected, relay.ClassTransient,
		relay.ClassNotReady, relay.ClassDenied, relay.ClassOutage} {
		m.attempts.WithLabelValues(destination, string(class))
	}
	m.duration.WithLabelValues(destination)
	m.ambiguous.WithLabelValues(destination)
	m.before.WithLabelValues(destination)
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
	m.duration.WithLabelValues(a.Queue.Destination).Observe(a.Took.Seconds())
}

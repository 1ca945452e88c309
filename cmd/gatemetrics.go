package cmd

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/theforeman/foreman-relay/relay"
)

// gateMetrics show what each destination's gate lets through at every scrape; all
// zero while nothing is delivered from here.
type gateMetrics struct {
	limit, inFlight, waiting, rate, quiet, throttlings *prometheus.Desc

	mu    sync.Mutex
	gates map[string]*relay.Gate // by destination; nil: nothing is delivered there from here
}

func newGateMetrics(destinations []string) *gateMetrics {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("foreman_relay_"+name, help, []string{"destination"}, nil)
	}
	m := &gateMetrics{
		limit:       desc("concurrency_limit", "Attempts at one time that the destination is trusted with now; 0: its circuit is open, or nothing is delivered from here."),
		inFlight:    desc("attempts_in_flight", "Attempts under way."),
		waiting:     desc("queues_waiting", "Queues with a message that is ready and waits for its turn at the destination."),
		rate:        desc("rate_limit", "Attempts a second that may begin now; it rises with the limit after an outage. 0: no bound."),
		quiet:       desc("throttled_seconds", "For how long no attempt is begun because the destination asked for it."),
		throttlings: desc("throttled_total", "Answers by which the destination asked to be left alone: 429, or Retry-After."),
		gates:       map[string]*relay.Gate{},
	}
	for _, d := range destinations {
		m.gates[d] = nil
	}
	return m
}

// watch has a destination's gate shown.
func (m *gateMetrics) watch(destination string, g *relay.Gate) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gates[destination] = g
}

// Describe implements prometheus.Collector.
func (m *gateMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.limit, m.inFlight, m.waiting, m.rate, m.quiet, m.throttlings} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *gateMetrics) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for destination, g := range m.gates {
		var s relay.GateStatus
		if g != nil {
			s = g.Status()
		}
		gauge := func(d *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, destination)
		}
		gauge(m.limit, float64(s.Limit))
		gauge(m.inFlight, float64(s.InFlight))
		gauge(m.waiting, float64(s.Waiting))
		gauge(m.rate, s.Rate)
		gauge(m.quiet, s.Quiet.Seconds())
		ch <- prometheus.MustNewConstMetric(m.throttlings, prometheus.CounterValue, float64(s.Throttled), destination)
	}
}

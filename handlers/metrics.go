package handlers

import (
	"context"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/theforeman/foreman-relay/relay"
)

// Metrics are the counters of the edge. Every family is there from the start.
type Metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
	accepted *prometheus.CounterVec
	replayed prometheus.Counter
	refused  *prometheus.CounterVec
	passes   *prometheus.CounterVec
	callers  *prometheus.CounterVec
	reloads  *prometheus.CounterVec
}

// NewMetrics makes and registers the metrics of the edge's routes.
func NewMetrics(r prometheus.Registerer, routes []relay.Route) *Metrics {
	m := &Metrics{
		requests: counters("http_requests_total", "Requests answered, by route and HTTP status.", "route", "code"),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "foreman_relay_http_request_duration_seconds",
			Help: "Time from request to answer, by route.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15)}, []string{"route"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "foreman_relay_http_in_flight", Help: "Requests being answered."}),
		accepted: counters("accepted_total", "Messages stored and answered, by queue and route.", "organization", "destination", "route"),
		replayed: prometheus.NewCounter(prometheus.CounterOpts{Name: "foreman_relay_replayed_total", Help: "Requests whose key was known."}),
		refused:  counters("refused_total", "Requests refused, by code.", "code"),
		passes:   counters("pass_through_total", "Requests that only the destination can answer, by route and what became of them.", "route", "outcome"),
		callers:  counters("refused_callers_total", "Requests refused for who sent them, by reason.", "reason"),
		reloads:  counters("tls_reloads_total", "Changed TLS files that were read, by what came of it: used, or refused while the ones before stay.", "result"),
	}
	r.MustRegister(m.requests, m.duration, m.inFlight, m.accepted, m.replayed, m.refused, m.passes, m.callers, m.reloads)
	for _, reason := range relay.RefusalsOfCallers() {
		m.callers.WithLabelValues(reason)
	}
	for _, result := range []string{reloadUsed, reloadRefused} {
		m.reloads.WithLabelValues(result)
	}
	for code := range statuses {
		m.refused.WithLabelValues(string(code))
	}
	names := []string{genericRoute}
	for _, route := range routes {
		names = append(names, route.Name)
		m.requests.WithLabelValues(route.Name, strconv.Itoa(route.Reply.Status))
	}
	for _, name := range names {
		m.duration.WithLabelValues(name)
	}
	return m
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "foreman_relay_" + name, Help: help}, labels)
}

// expect shows the routes of an organization before their first message.
func (m *Metrics) expect(organization string, routes []relay.Route) {
	for _, r := range routes {
		m.accepted.WithLabelValues(organization, r.Destination, r.Name)
	}
}

// expectPasses shows what is passed on before the first request.
func (m *Metrics) expectPasses(passes []relay.Pass) {
	for _, p := range passes {
		m.duration.WithLabelValues(p.Name)
		for _, outcome := range passOutcomes {
			m.passes.WithLabelValues(p.Name, outcome)
		}
	}
}

func (m *Metrics) pass(route, outcome string) { m.passes.WithLabelValues(route, outcome).Inc() }

// What came of changed TLS files; labels of a metric.
const (
	reloadUsed    = "used"
	reloadRefused = "refused"
)

func (m *Metrics) reloaded(err error) {
	if err != nil {
		m.reloads.WithLabelValues(reloadRefused).Inc()
		return
	}
	m.reloads.WithLabelValues(reloadUsed).Inc()
}

func (m *Metrics) refuseCaller(reason string) { m.callers.WithLabelValues(reason).Inc() }

func (m *Metrics) refuse(code relay.Code) { m.refused.WithLabelValues(string(code)).Inc() }

func (m *Metrics) accept(msg *relay.Message, replayed bool) {
	if replayed {
		m.replayed.Inc()
		return
	}
	m.accepted.WithLabelValues(msg.Queue.Organization, msg.Queue.Destination, msg.Route).Inc()
}

// observe counts and logs each request, once, without bodies and keys.
func (e *Edge) observe(next echo.HandlerFunc) echo.HandlerFunc {
	level := zerolog.InfoLevel
	if e.AccessLevel != nil {
		level = *e.AccessLevel
	}
	return func(c echo.Context) error {
		start := time.Now()
		e.Metrics.inFlight.Inc()
		defer e.Metrics.inFlight.Dec()
		if err := next(c); err != nil {
			c.Error(err)
		}
		route := e.routeName(c)
		took := time.Since(start)
		status := c.Response().Status
		e.Metrics.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
		e.Metrics.duration.WithLabelValues(route).Observe(took.Seconds())
		e.Log.WithLevel(level).Str("route", route).Str("method", c.Request().Method).Int("status", status).
			Str("remote", c.Request().RemoteAddr).Str("request_id", requestID(c)).
			Str("id", c.Response().Header().Get("Relay-Message-Id")).Int64("bytes", c.Request().ContentLength).
			Dur("took", took).Msg("request")
		return nil
	}
}

func (e *Edge) routeName(c echo.Context) string {
	for _, r := range e.Routes {
		for _, p := range r.Paths {
			if p == c.Path() && r.Method == c.Request().Method {
				return r.Name
			}
		}
	}
	if p, ok := e.passOf(c); ok {
		return p.Name
	}
	switch c.Path() {
	case "/relay/v1/queues/:organization/:destination/messages":
		return genericRoute
	case "/relay/v1/messages/:id":
		return "status"
	case "/features", "/v2/features", "/version", "/logs":
		return "smart_proxy"
	case "/livez", "/readyz":
		return "health"
	default:
		return "none"
	}
}

// QueueCollector shows the ledgers of all queues at every scrape.
type QueueCollector struct {
	operator relay.Operator
	log      zerolog.Logger
	messages *prometheus.Desc
	oldest   *prometheus.Desc
	bytes    *prometheus.Desc
	breaker  *prometheus.Desc
	paused   *prometheus.Desc
	held     *prometheus.Desc
}

// NewQueueCollector collects from an operator.
func NewQueueCollector(o relay.Operator, log zerolog.Logger) *QueueCollector {
	labels := []string{"organization", "destination"}
	desc := func(name, help string, more ...string) *prometheus.Desc {
		return prometheus.NewDesc("foreman_relay_"+name, help, append(append([]string(nil), labels...), more...), nil)
	}
	return &QueueCollector{operator: o, log: log,
		messages: desc("queue_messages", "Messages of a queue, by state; accepted is their sum but for waiting, delivering and scheduled, which are part of pending.", "state"),
		oldest:   desc("queue_oldest_age_seconds", "Age of the oldest pending message."),
		bytes:    desc("queue_bytes", "Size of the journal."),
		breaker:  desc("breaker_state", "1 at the state in which the circuit of the destination is; unknown without a drain.", "state"),
		paused:   desc("queue_paused", "1 while a queue is paused."),
		held:     desc("retries_held", "Messages that are due for a retry and held back by the retry budget of the destination.")}
}

// Describe implements prometheus.Collector.
func (q *QueueCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{q.messages, q.oldest, q.bytes, q.breaker, q.paused, q.held} {
		ch <- d
	}
}

// breakerStates are those of relay.QueueStatus.Breaker.
var breakerStates = [...]string{"closed", "open", "half-open", "unknown"}

// Collect implements prometheus.Collector.
func (q *QueueCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	all, err := q.operator.Queues(ctx)
	if err != nil {
		q.log.Warn().Err(err).Msg("the queues cannot be counted")
		ch <- prometheus.NewInvalidMetric(q.messages, err)
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, s := range all {
		for state, n := range map[string]uint64{"accepted": s.Accepted, "pending": s.Pending, "delivering": s.Delivering,
			"waiting": s.Waiting, "scheduled": s.Scheduled, "delivered": s.Delivered, "dead": s.Dead, "superseded": s.Superseded,
			"cancelled": s.Cancelled, "discarded": s.Discarded, "duplicate": s.Duplicate} {
			gauge(q.messages, float64(n), s.Organization, s.Destination, state)
		}
		gauge(q.oldest, s.OldestAgeSeconds, s.Organization, s.Destination)
		gauge(q.bytes, float64(s.Bytes), s.Organization, s.Destination)
		gauge(q.paused, flag(s.Paused), s.Organization, s.Destination)
		gauge(q.held, float64(s.RetriesHeld), s.Organization, s.Destination)
		for _, state := range breakerStates {
			gauge(q.breaker, flag(state == s.Breaker), s.Organization, s.Destination, state)
		}
	}
}

// flag is a truth as a gauge shows it.
func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

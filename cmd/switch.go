package cmd

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/foreman"
)

// Switch says who turns organizations on and off. Edge and drain are both told:
// the edge so that it heeds the drain, the drain so that it reads.
type Switch struct {
	By       string        `yaml:"by" json:"by"`             // foreman or manual
	Interval time.Duration `yaml:"interval" json:"interval"` // drain: between two looks
	Create   bool          `yaml:"create" json:"create"`     // edge: make organizations that only Foreman knows
	// drain: a file with the user of Foreman who may look, LOGIN:PASSWORD or LOGIN:TOKEN
	Credentials string `yaml:"credentials" json:"credentials"`
}

// Who turns organizations on and off.
const (
	switchManual  = "manual"
	switchForeman = "foreman"
)

// switchInterval is how soon the relay does what was changed in Foreman.
const switchInterval = time.Minute

func defaultSwitch() Switch { return Switch{By: switchManual, Interval: switchInterval} }

func (s Switch) check() error {
	return errors.Join(among("switch.by", s.By, []string{switchForeman, switchManual}),
		within("switch.interval", s.Interval, time.Second, 24*time.Hour), exists("switch.credentials", s.Credentials))
}

// checkReading says what a process lacks that delivers to Foreman.
func (c *Config) checkReading() error {
	if c.Switch.By != switchForeman || c.Foreman.URL == "" {
		return nil
	}
	var problems []error
	if c.SmartProxy.Name == "" {
		problems = append(problems, errors.New("switch.by is foreman: give smart_proxy.name, the smart proxy whose organizations are looked at"))
	}
	if c.Switch.Credentials == "" {
		problems = append(problems, errors.New("switch.by is foreman: give switch.credentials, a file with a user of Foreman who has view_smart_proxies"))
	}
	return errors.Join(problems...)
}

// checkDrainSwitch: only who delivers to Foreman can look.
func (c *Config) checkDrainSwitch() error {
	if c.Switch.By == switchForeman && c.Broker.Destination != relay.ForemanDestination {
		return fmt.Errorf("switch.by is foreman, and this drain is for %q: only the drain of %s can look at the switch", c.Broker.Destination, relay.ForemanDestination)
	}
	return c.checkReading()
}

// switchOptions are the edge's; nil: it heeds nobody.
func (c *Config) switchOptions() *broker.SwitchOptions {
	if c.Switch.By != switchForeman {
		return nil
	}
	return &broker.SwitchOptions{Create: c.Switch.Create}
}

// switchReader looks at the switch in Foreman, again and again, and tells the
// edge. It holds the user of Foreman, so that it is only where Foreman is.
type switchReader struct {
	proxy    string
	interval time.Duration
	read     func(ctx context.Context, proxy string) ([]relay.Assignment, error)
	tell     func(ctx context.Context, r relay.SwitchReport) (relay.SwitchReply, error)
	log      zerolog.Logger
	metrics  *switchMetrics

	said    string   // what was logged last of a failure; empty: it goes well
	unknown []string // what was logged last
}

// startSwitch starts the reader where one is configured; the function that it
// returns stops it and waits.
func startSwitch(c Config, channel *broker.Channel, metrics *switchMetrics, log zerolog.Logger) (stop func(), err error) {
	if c.Switch.By != switchForeman {
		return func() {}, nil
	}
	who, err := foreman.ReadCredentials(c.Switch.Credentials)
	if err != nil {
		return nil, usage(err)
	}
	o := c.Foreman.options(c.Foreman.AttemptTimeout, 1)
	o.CertFile, o.KeyFile = "", "" // the user counts
	client, err := foreman.New(foreman.Options{Options: o})
	if err != nil {
		return nil, usage(err)
	}
	api, err := client.API(who)
	if err != nil {
		client.Close()
		return nil, usage(err)
	}
	r := &switchReader{proxy: c.SmartProxy.Name, interval: c.Switch.Interval, read: api.Assigned, tell: channel.Switch, log: log, metrics: metrics}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.run(ctx)
	}()
	return func() {
		cancel()
		<-done
		client.Close()
	}, nil
}

// startSwitch starts the reader of a `serve` that delivers to Foreman itself.
func (s *server) startSwitch(context.Context) error {
	metrics := newSwitchMetrics(s.registry)
	if s.foreman == nil || s.config.Switch.By != switchForeman {
		return nil
	}
	channel, err := s.broker.Connect(relay.ForemanDestination)
	if err != nil {
		return err
	}
	end, err := startSwitch(s.config, channel, metrics, s.log)
	if err != nil {
		channel.Close()
		return err
	}
	s.stop.push("switch", time.Second, func(context.Context) {
		end()
		channel.Close()
	})
	return nil
}

func (r *switchReader) run(ctx context.Context) {
	for {
		r.look(ctx)
		// Relays that were started together do not ask together.
		t := time.NewTimer(r.interval*9/10 + rand.N(r.interval/5)) //nolint:gosec // jitter guards no secret
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// look reads once and tells. After a failure all stays as it was.
func (r *switchReader) look(ctx context.Context) {
	assigned, err := r.read(ctx, r.proxy)
	if err == nil {
		var done relay.SwitchReply
		if done, err = r.tell(ctx, relay.SwitchReport{Proxy: r.proxy, Assigned: assigned}); err == nil {
			r.succeeded(done)
			return
		}
	}
	if ctx.Err() != nil {
		return
	}
	r.metrics.looks.WithLabelValues(string(relay.CodeOf(err))).Inc()
	if said := err.Error(); said != r.said { // once, not each minute
		r.said = said
		r.log.Error().Err(err).Str("smart_proxy", r.proxy).Msg("the switch in Foreman cannot be read or carried out; organizations stay as they are")
	}
}

func (r *switchReader) succeeded(done relay.SwitchReply) {
	r.metrics.looks.WithLabelValues(switchRead).Inc()
	r.metrics.last.SetToCurrentTime()
	if r.said != "" {
		r.said = ""
		r.log.Info().Str("smart_proxy", r.proxy).Msg("the switch in Foreman is read again")
	}
	if n := len(done.Enabled) + len(done.Disabled) + len(done.Made); n > 0 {
		r.log.Info().Strs("enabled", done.Enabled).Strs("disabled", done.Disabled).Strs("made", done.Made).Msg("organizations were switched in Foreman")
	}
	if !slices.Equal(done.Unknown, r.unknown) {
		r.unknown = done.Unknown
		for _, title := range done.Unknown {
			r.log.Warn().Str("organization", title).Msg(fmt.Sprintf("the smart proxy %q is assigned to it in Foreman, but the relay does not know it: add it, or set switch.create", r.proxy))
		}
	}
}

// switchRead is the result of a look that went well; the others are codes.
const switchRead = "read"

type switchMetrics struct {
	looks *prometheus.CounterVec
	last  prometheus.Gauge
}

func newSwitchMetrics(r prometheus.Registerer) *switchMetrics {
	m := &switchMetrics{
		looks: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "foreman_relay_switch_looks_total",
			Help: "Looks at the switch in Foreman, by what came of them: read, or the code of the failure."}, []string{"result"}),
		last: prometheus.NewGauge(prometheus.GaugeOpts{Name: "foreman_relay_switch_last_read_timestamp_seconds",
			Help: "When the switch in Foreman was read and carried out last; 0: not since the start."}),
	}
	r.MustRegister(m.looks, m.last)
	for _, result := range []string{switchRead, string(relay.CodeUnavailable), string(relay.CodeDenied), string(relay.CodeNotFound), string(relay.CodeInternal)} {
		m.looks.WithLabelValues(result)
	}
	return m
}

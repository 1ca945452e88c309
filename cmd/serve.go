package cmd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/foreman"
)

// Addresses are where a running `serve` can be reached.
type Addresses struct {
	URL         string // of the edge
	AdminSocket string
	Broker      string // host:port for far drains; empty: none
}

func serveCommand(p *program) *cobra.Command {
	c := &cobra.Command{Use: "serve", Short: "Take requests, store them, and deliver them if Foreman can be reached from here", Args: noArgs,
		Example: "  foreman-relay serve\n  foreman-relay serve --foreman-url https://foreman.example.com --foreman-ca ca.pem --foreman-cert relay.pem --foreman-key relay.key"}
	addSettings(c.Flags(), serveSettings())
	c.RunE = func(c *cobra.Command, _ []string) error {
		config, err := loadConfig(c, serveSettings(), p.env)
		if err != nil {
			return err
		}
		ctx, stop := untilSignal(c.Context())
		defer stop()
		defer tuneMemory()()
		return Serve(ctx, config, variable(p.env), p.stderr, func(Addresses) {})
	}
	return c
}

// server is a `serve` under way.
type server struct {
	config   Config
	log      zerolog.Logger
	stop     stack
	registry *prometheus.Registry
	broker   *broker.Broker
	edge     *handlers.Edge
	outlets  []outlet        // what is delivered to from here
	foreman  *foreman.Client // nil: delivered elsewhere
	drain    *relay.Drain    // Foreman's; nil: as above
	listener net.Listener
	proxyLog *handlers.ProxyLog

	certificates *handlers.Certificates // of the edge; nil: plain HTTP
	handshaker   *relay.Handshaker
	joined       map[string]relay.HandshakeDestination // those of its document that are in use
	failed       chan error                            // a server that ended by itself
}

// Serve runs edge, broker and, with a Foreman, the drain, until ctx ends. ready
// is called once requests are taken.
func Serve(ctx context.Context, c Config, env func(string) string, stderr io.Writer, ready func(Addresses)) error {
	if err := c.complete("foreman-relay", env); err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	s := &server{config: c, log: newLog(c.Log, stderr), registry: prometheus.NewRegistry(), proxyLog: handlers.NewProxyLog(time.Now), failed: make(chan error, 4)}
	var err error
	if s.outlets, s.foreman, err = c.outlets(); err != nil { // a wrong one is told before anything is made
		return err
	}
	s.stop.log = s.log
	defer s.stop.stop()
	// The edge comes last, so that it stops first: nothing new is taken while
	// the drain settles what is in flight.
	for _, start := range []func(context.Context) error{s.listen, s.openBroker, s.openHandshake, s.makeEdge, s.serveAdmin, s.startDrain, s.startSwitch, s.serveEdge} {
		if err := start(ctx); err != nil {
			return err
		}
	}
	s.announce(stderr)
	ready(Addresses{URL: s.url(), AdminSocket: c.AdminSocket, Broker: s.broker.Address()})
	select {
	case <-ctx.Done():
		s.log.Info().Msg("stopping")
		return nil
	case err := <-s.failed:
		return err
	case <-s.broker.Failed():
		s.stop.most = hurried // what is in flight could not be settled any more
		return fmt.Errorf("writing to the disk failed, nothing more can be promised: %w", s.broker.Err())
	}
}

// listen takes the address first: a wrong one is told before anything is made.
func (s *server) listen(ctx context.Context) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.config.Listen)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("address %s is in use: another program (or another relay) listens there; stop it, or give --listen another address", s.config.Listen)
	case err != nil:
		return fmt.Errorf("listen on %s: %w; give --listen an address of this machine", s.config.Listen, err)
	}
	s.listener = l
	s.stop.push("listener", time.Second, func(context.Context) { _ = l.Close() }) // closed by its server before, as a rule
	return nil
}

func (s *server) openBroker(ctx context.Context) error {
	c := s.config
	mode, err := broker.ParseMode(c.Durability)
	if err != nil {
		return usage(err)
	}
	o := broker.Options{StateDir: c.StateDir, Durability: mode, Queues: c.queues(), Joined: s.joinDestinations, Credential: s.credential, OffQueues: c.OrganizationsOff, QuotaBytes: int64(c.Limits.Quota),
		DeadQuotaBytes: int64(c.Limits.DeadLetterQuota), JournalWindow: c.Limits.JournalWindow, RecordWindow: c.Limits.RecordWindow,
		Routes: c.routes(), Buried: s.proxyLog.Buried,
		ReserveBytes: int64(c.Limits.Reserve), MaxWaiting: c.Limits.MaxWaiting, MaxUploads: c.Limits.MaxUploads, Latest: c.latest(), Switch: c.switchOptions(), Log: s.log}
	if c.Broker.Listen != "" {
		o.Listen = &broker.ListenOptions{Address: c.Broker.Listen, CertFile: c.Broker.Cert, KeyFile: c.Broker.Key, ClientCAFile: c.Broker.CA, CRLFile: c.Broker.CRL}
	}
	if s.broker, err = broker.Open(ctx, o); err != nil {
		return err
	}
	s.stop.push("broker", 30*time.Second, func(context.Context) { s.broker.Close() })
	return nil
}

// makeEdge comes before it is served: the admin socket enqueues with it.
func (s *server) makeEdge(context.Context) error {
	c := s.config
	routes := c.routes()
	metrics := handlers.NewMetrics(s.registry, routes)
	if err := s.openCertificates(metrics); err != nil {
		return err
	}
	s.edge = handlers.NewEdge(handlers.EdgeOptions{Intake: s.broker, Known: s.known, QueueOf: s.broker.QueueOf, Organization: c.Organization, Callers: s.callers(), Routes: routes,
		Pass: s.pass(), Door: s.door(), SmartProxy: s.smartProxy(), Handshaker: s.handshaker, Policy: c.policies()(messageRoute), MaxBody: int64(c.Limits.MaxBody), BodyTimeout: c.Limits.BodyTimeout, Sealer: c.sealer(s.broker), Now: time.Now, Metrics: metrics, Log: s.log})
	return nil
}

func (s *server) serveEdge(context.Context) error {
	var config *tls.Config
	if s.certificates != nil {
		config = s.certificates.TLS()
		s.watchCertificates()
	}
	connections := s.config.Limits.connections()
	s.serveHTTP("edge", connections.Server(s.edge, config, s.log), connections.Listener(s.listener, s.registry), s.edge.Refuse)
	return nil
}

// serveHTTP runs a server; at the stop it refuses what is new and finishes what
// is under way.
func (s *server) serveHTTP(name string, server *http.Server, l net.Listener, refuse func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		var err error
		if server.TLSConfig != nil {
			err = server.ServeTLS(l, "", "")
		} else {
			err = server.Serve(l)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			s.failed <- fmt.Errorf("%s: %w", name, err)
		}
	}()
	s.stop.push(name, 10*time.Second, func(ctx context.Context) {
		refuse()
		if err := server.Shutdown(ctx); err != nil {
			_ = server.Close() // requests that take longer are cut off
		}
		<-done
	})
}

func (s *server) serveAdmin(ctx context.Context) error {
	l, err := handlers.ListenUnix(ctx, s.config.AdminSocket)
	if err != nil {
		return err
	}
	s.registry.MustRegister(handlers.NewQueueCollector(s.broker, s.log), handlers.NewStorageCollector(s.broker.Storage), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	admin := handlers.NewAdmin(handlers.AdminOptions{Operator: s.broker, Intake: s.broker, Organizations: s.broker, Edge: s.edge, Handshaker: s.handshaker, Storage: s.broker.Storage, Config: s.config,
		Version: Version(), Registry: s.registry, Log: s.log})
	s.serveHTTP("admin socket", handlers.NewServer(admin, nil, s.log), l, func() {})
	return nil
}

// startDrain starts a drain for every destination that is delivered to from here.
func (s *server) startDrain(context.Context) error {
	metrics := newDrainMetrics(s.registry, s.config.destinations())
	if len(s.outlets) == 0 {
		return nil
	}
	instance, err := instanceOf(s.config.StateDir)
	if err != nil {
		return err
	}
	all, err := newDrainers(s.config, instance, metrics, s.log)
	if err != nil {
		return err
	}
	for _, o := range s.outlets {
		channel, err := s.broker.Connect(o.name)
		if err != nil {
			all.close()
			return err
		}
		if drain := all.add(o, channel); o.name == relay.ForemanDestination {
			s.drain = drain
		}
	}
	stop := all.start()
	s.stop.push("drain", s.config.Limits.StopTimeout+cutOff, func(context.Context) { stop() })
	return nil
}

func (s *server) url() string {
	scheme := "http"
	if s.config.TLS.Cert != "" {
		scheme = "https"
	}
	return scheme + "://" + s.listener.Addr().String()
}

// announce is the one line at the start.
func (s *server) announce(stderr io.Writer) {
	d := s.broker.Durability()
	to := "nowhere yet (give --foreman-url, or run `foreman-relay drain`)"
	if len(s.outlets) > 0 {
		to = addresses(s.outlets)
	}
	if d.Remedy != "" {
		d.Reason += "; " + d.Remedy
	}
	far := ""
	if a := s.broker.Address(); a != "" {
		far = " drains=tls://" + a
	}
	line := fmt.Sprintf("foreman-relay %s listens on %s%s, state in %s, durability %s (%s), delivers to %s; try: foreman-relay queue ls --admin-socket %s",
		Version(), s.url(), far, s.config.StateDir, d, d.Reason, to, s.config.AdminSocket)
	announce(s.config.Log, s.log, stderr, line, map[string]any{"url": s.url(), "admin_socket": s.config.AdminSocket,
		"broker": s.broker.Address(), "state_dir": s.config.StateDir, "durability": d.String()})
	if local, err := isLoopback(s.config.Listen); err == nil && !local && s.config.TLS.ClientCA == "" && len(s.config.Identity.Forward.From) == 0 {
		s.log.Warn().Msg("anybody who reaches this address may post: give --tls-client-ca to demand client certificates")
	}
}

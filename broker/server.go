package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/rs/zerolog"

	"github.com/theforeman/foreman-relay/relay"
)

// startTimeout bounds the recovery of the streams at start.
const startTimeout = 2 * time.Minute

// maxStore is more than all quotas together, which are reserved up front: some
// thousand queues of MaxQuota. The disk is guarded by disk.go.
const maxStore = 1 << 62

// embedded is the nats-server in this process. It has no port (drains come in by the
// guard), traps no signal and cannot end the process. It can be started anew within it,
// because that alone makes JetStream write again after a full disk; connections
// inside the process find the new one by themselves.
type embedded struct {
	opts    *server.Options
	current atomic.Pointer[server.Server]
	edge    nkeys.KeyPair            // may do everything; in this process only
	door    nkeys.KeyPair            // what takes requests: may store, and read nothing; in this process only
	drains  map[string]nkeys.KeyPair // by destination; the guard uses them for those from far away
	log     zerolog.Logger

	fatal    atomic.Pointer[string]
	troubled chan struct{} // holds one: the server has logged an error, look at its health
}

// errServerAway is what connections meet while the server is started anew.
var errServerAway = errors.New("the embedded broker is being started")

func startServer(ctx context.Context, dir string, always bool, queues []relay.Queue, log zerolog.Logger) (*embedded, error) {
	e := &embedded{drains: map[string]nkeys.KeyPair{}, troubled: make(chan struct{}, 1), log: log}
	e.opts = &server.Options{
		ServerName:             "foreman-relay",
		DontListen:             true,
		NoSigs:                 true,
		JetStream:              true,
		StoreDir:               filepath.Join(dir, "jetstream"),
		JetStreamMaxStore:      maxStore,
		JetStreamMaxMemory:     64 << 20,
		SyncAlways:             always,
		DisableJetStreamBanner: true,
	}
	bound(e.opts)
	if err := e.admit(queues); err != nil {
		return nil, err
	}
	if err := e.start(ctx); err != nil {
		return nil, err
	}
	return e, nil
}

// start starts a server and returns when every stream is recovered.
func (e *embedded) start(ctx context.Context) error {
	e.fatal.Store(nil)
	s, err := server.NewServer(e.opts.Clone())
	if err != nil {
		return fmt.Errorf("embedded broker: %w", err)
	}
	s.SetLoggerV2(&serverLog{e}, false, false, false)
	s.Start()
	if err := e.awaitHealthy(ctx, s); err != nil {
		halt(s)
		return err
	}
	e.current.Store(s)
	return nil
}

// stop ends the server; who is connected is cut off.
func (e *embedded) stop() {
	if s := e.current.Swap(nil); s != nil {
		halt(s)
	}
}

func halt(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// InProcessConn connects to the server that runs now (nats.InProcessConnProvider).
func (e *embedded) InProcessConn() (net.Conn, error) {
	s := e.current.Load()
	if s == nil {
		return nil, errServerAway
	}
	return s.InProcessConn()
}

// admit makes the users of this process. Their keys exist in memory only, and
// only connections inside the process may use them.
func (e *embedded) admit(queues []relay.Queue) error {
	var err error
	if e.edge, err = e.user(nil); err != nil {
		return err
	}
	if e.door, err = e.user(doorPermissions(destinations(queues))); err != nil {
		return err
	}
	return e.admitDrains(queues)
}

// admitDrains makes the users of destinations that have none yet.
func (e *embedded) admitDrains(queues []relay.Queue) (err error) {
	for _, destination := range destinations(queues) {
		if e.drains[destination] != nil {
			continue
		}
		if e.drains[destination], err = e.user(drainPermissions(destination, queues)); err != nil {
			return err
		}
	}
	return nil
}

// user is one more of this process.
func (e *embedded) user(p *server.Permissions) (nkeys.KeyPair, error) {
	kp, err := nkeys.CreateUser()
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	public, err := kp.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	e.opts.Nkeys = append(e.opts.Nkeys, &server.NkeyUser{Nkey: public, Permissions: p,
		AllowedConnectionTypes: map[string]struct{}{jwt.ConnectionTypeInProcess: {}}})
	return kp, nil
}

// allow gives the drains what they may do with these queues, at once and at every
// start of the server. Who is connected stays so, and keeps what it had before.
func (e *embedded) allow(queues []relay.Queue) error {
	for _, destination := range destinations(queues) {
		public, err := e.drains[destination].PublicKey()
		if err != nil {
			return fmt.Errorf("public key of drain %s: %w", destination, err)
		}
		for _, u := range e.opts.Nkeys {
			if u.Nkey == public {
				u.Permissions = drainPermissions(destination, queues)
			}
		}
		for _, u := range e.opts.Users {
			if u.Username == DrainUser(destination) {
				u.Permissions = drainPermissions(destination, queues)
			}
		}
	}
	s := e.current.Load()
	if s == nil {
		return errServerAway
	}
	if err := s.ReloadOptions(e.opts.Clone()); err != nil {
		return fmt.Errorf("give the drains permission for new queues: %w", err)
	}
	return nil
}

// destinations lists the destinations of queues, each once, in their order.
func destinations(queues []relay.Queue) []string {
	var names []string
	seen := map[string]bool{}
	for _, q := range queues {
		if !seen[q.Destination] {
			seen[q.Destination] = true
			names = append(names, q.Destination)
		}
	}
	return names
}

// awaitHealthy waits until every stream is recovered. A stream that cannot be
// recovered must stop the start: it would silently be made anew.
func (e *embedded) awaitHealthy(ctx context.Context, s *server.Server) error {
	const look = 10 * time.Millisecond
	deadline := time.Now().Add(startTimeout)
	for {
		started := s.ReadyForConnections(look)
		err := e.health(s)
		switch {
		case started && err == nil:
			return nil
		case e.fatal.Load() != nil:
			return fmt.Errorf("embedded broker: %w", err)
		case ctx.Err() != nil:
			return fmt.Errorf("embedded broker: %w", ctx.Err())
		case time.Now().After(deadline):
			return fmt.Errorf("embedded broker is not healthy after %v: %w (its log says why)", startTimeout, err)
		case started:
			time.Sleep(look)
		}
	}
}

// healthy says what is wrong with the server, if anything. It waits as long as
// a disk does that does not answer.
func (e *embedded) healthy() error {
	s := e.current.Load()
	if s == nil {
		return errServerAway
	}
	return e.health(s)
}

func (e *embedded) health(s *server.Server) error {
	if f := e.fatal.Load(); f != nil {
		return errors.New(*f)
	}
	if h := s.Healthz(&server.HealthzOptions{}); h.StatusCode != 200 {
		return errors.New(h.Error)
	}
	return nil
}

// inProcessWait is the pause between two tries to reach a server of this
// process that is being started anew.
const inProcessWait = 25 * time.Millisecond

// connect opens a connection inside the process; it outlives the server.
func (e *embedded) connect(name string, kp nkeys.KeyPair, more ...nats.Option) (*nats.Conn, error) {
	public, err := kp.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("public key of %s: %w", name, err)
	}
	options := append([]nats.Option{nats.Name(name), nats.InProcessServer(e), nats.Nkey(public, kp.Sign),
		nats.IgnoreAuthErrorAbort(), // who connects while permissions are read again is taken for a stranger
		nats.MaxReconnects(-1), nats.ReconnectWait(inProcessWait), nats.ReconnectJitter(inProcessWait, inProcessWait)}, more...)
	nc, err := nats.Connect("", options...)
	if err != nil {
		return nil, fmt.Errorf("connect %s to the embedded broker: %w", name, err)
	}
	return nc, nil
}

// serverLog passes the server's log on. Its Fatalf does not end the process: it
// is kept, and readiness fails.
type serverLog struct{ e *embedded }

func (l *serverLog) Noticef(f string, v ...any) { l.e.log.Debug().Msgf(f, v...) }
func (l *serverLog) Warnf(f string, v ...any)   { l.e.log.Warn().Msgf(f, v...) }
func (l *serverLog) Errorf(f string, v ...any) {
	l.e.log.Error().Msgf(f, v...)
	signal(l.e.troubled)
}
func (l *serverLog) Debugf(f string, v ...any) { l.e.log.Debug().Msgf(f, v...) }
func (l *serverLog) Tracef(f string, v ...any) { l.e.log.Trace().Msgf(f, v...) }
func (l *serverLog) Fatalf(f string, v ...any) {
	text := strings.TrimSpace(fmt.Sprintf(f, v...))
	l.e.fatal.Store(&text)
	l.e.log.Error().Msg("embedded broker: " + text)
}

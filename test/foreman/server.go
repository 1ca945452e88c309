package standin

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
)

// Server is one stand-in: its memory, its rules, and, while it is started, its
// listener. Stopped and started again it keeps its memory and its address.
type Server struct {
	mu       sync.Mutex
	store    store
	registry registry
	asked    asked
	rules    []*Rule
	requests []*Request
	active   map[string]int // by host: requests being answered
	most     int            // requests being answered at one time, at most
	changed  chan struct{}  // closed and replaced at every change
	counted  func(*Request) // told of every request that was counted, before its answer

	life     sync.Mutex
	http     *http.Server
	listener net.Listener
	address  string
	config   *tls.Config
	done     chan struct{}
	stop     chan struct{} // ends what hangs
}

// New makes a stand-in that is up; Start makes it listen.
func New() *Server {
	return &Server{store: newStore(), registry: newRegistry(), active: map[string]int{}, changed: make(chan struct{}), stop: make(chan struct{})}
}

// OnCounted has f called for every request that was counted, before it is
// answered.
func (s *Server) OnCounted(f func(*Request)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counted = f
}

// UseTLS makes later starts speak TLS.
func (s *Server) UseTLS(c *tls.Config) { s.config = c }

// Start listens on the address, or on the one before when it is empty.
func (s *Server) Start(address string) error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.http != nil {
		return errors.New("the stand-in is started already")
	}
	if address == "" {
		address = s.address
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("stand-in: %w", err)
	}
	s.address = l.Addr().String()
	if s.config != nil {
		l = tls.NewListener(l, s.config)
	}
	s.listener, s.http, s.done, s.stop = l, &http.Server{Handler: s}, make(chan struct{}), make(chan struct{})
	go func(server *http.Server, done chan struct{}) {
		defer close(done)
		_ = server.Serve(l) // it ends with Stop
	}(s.http, s.done)
	return nil
}

// Stop refuses connections from now on and cuts those that are open.
func (s *Server) Stop() {
	s.life.Lock()
	defer s.life.Unlock()
	if s.http == nil {
		return
	}
	close(s.stop)
	_ = s.http.Close() // connections are cut: that is meant
	<-s.done
	s.http = nil
}

// URL is where the stand-in is, also while it is stopped.
func (s *Server) URL() string {
	if s.config != nil {
		return "https://" + s.address
	}
	return "http://" + s.address
}

func (s *Server) stopping() <-chan struct{} {
	s.life.Lock()
	defer s.life.Unlock()
	return s.stop
}

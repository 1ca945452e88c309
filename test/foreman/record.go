package standin

import (
	"context"
	"net/http"
	"time"
)

// Request is one request as it came, and what became of it.
type Request struct {
	Number  int         `json:"number"` // 1 is the first
	At      time.Time   `json:"at"`
	Method  string      `json:"method"`
	Path    string      `json:"path"` // with query
	Header  http.Header `json:"header"`
	Body    []byte      `json:"body"`
	Host    string      `json:"host,omitempty"`   // named in the body
	Client  string      `json:"client,omitempty"` // common name in the client's certificate
	Status  int         `json:"status"`           // answered; 0: none
	Counted bool        `json:"counted"`          // it changed something: a new report, or facts
	Active  int         `json:"active"`           // requests being answered when it came, itself among them
	SameNow int         `json:"same_host"`        // of these, for its host
}

// begin records a request; end must be called when it is answered.
func (s *Server) begin(r *Request) (end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active[r.Host]++
	for _, n := range s.active {
		r.Active += n
	}
	s.most = max(s.most, r.Active)
	r.SameNow = s.active[r.Host]
	s.requests = append(s.requests, r)
	r.Number = len(s.requests)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.active[r.Host]--; s.active[r.Host] == 0 {
			delete(s.active, r.Host)
		}
		s.notify()
	}
}

func (s *Server) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Requests are the requests so far but for pings, in the order of their arrival.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.recorded(false)
}

// Counted are those that changed something.
func (s *Server) Counted() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.recorded(true)
}

func (s *Server) recorded(counted bool) []Request {
	var all []Request
	for _, r := range s.requests {
		if r.Path != pingPath && (r.Counted || !counted) {
			all = append(all, *r)
		}
	}
	return all
}

// Reports are the reported_at of the counted reports by host, in the order in
// which they were counted.
func (s *Server) Reports() map[string][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string][]string, len(s.store.order))
	for host, times := range s.store.order {
		all[host] = append([]string(nil), times...)
	}
	return all
}

// Await waits until cond holds; it is asked after every request. False when ctx
// ended first.
func (s *Server) Await(ctx context.Context, cond func() bool) bool {
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if cond() {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return cond()
		}
	}
}

// Forget empties the list of requests, not the memory of reports and hosts.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests, s.most = nil, 0
}

package cmd

import (
	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay/foreman"
)

// pass is how the edge passes on what only Foreman can answer.
func (s *server) pass() handlers.PassOptions {
	c := s.config.PassThrough
	o := handlers.PassOptions{Closed: s.passClosed, Loopback: s.config.alone(), Callers: c.Callers,
		Passes: foreman.Passes(foreman.PassLimits{NodeTimeout: c.NodeTimeout, Timeout: c.Timeout, MaxBody: int64(c.MaxBody),
			MaxNode: int64(c.MaxNode), MaxAnswer: int64(c.MaxAnswer)})}
	if s.foreman != nil {
		o.Passer = s.foreman
	}
	if c.Stale {
		o.StaleEntries, o.StaleBytes = c.StaleEntries, int64(c.StaleBytes)
	}
	return o
}

// passClosed says why Foreman cannot be asked at this moment. What the drain has
// found out need not be found out again by callers that wait.
func (s *server) passClosed() string {
	switch {
	case !s.config.PassThrough.Enabled:
		return "this is not passed on to Foreman: pass_through.enabled is false"
	case s.foreman == nil:
		return "Foreman cannot be reached from here: give --foreman-url"
	case s.drain.Gate.Open():
		return "Foreman is not asked at this moment: it is away, or does not let the relay in"
	}
	return ""
}

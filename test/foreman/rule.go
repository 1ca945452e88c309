package standin

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Mode is a way in which Foreman, or what stands before it, behaves.
type Mode string

// The modes; contract, section 3.
const (
	HTML503     Mode = "html503"     // Apache without puma behind it: HTML, no Foreman headers
	JSON503     Mode = "json503"     // pending migrations
	BadGateway  Mode = "bad-gateway" // 502
	Error500    Mode = "error500"    // poison
	Maintenance Mode = "maintenance" // a page with 200, and no Foreman headers
	Forbidden   Mode = "forbidden"   // 403: the certificate is no smart proxy's
	Unauthorize Mode = "unauthorized"
	BuildMode   Mode = "build"      // facts: 422 Host is pending for Build
	Hang        Mode = "hang"       // no answer until the stand-in stops or the client goes
	Drop        Mode = "drop"       // the connection ends before anything is processed
	DropAfter   Mode = "drop-after" // the request is processed, and the connection ends
	Slow        Mode = "slow"       // after Latency as usual
	NoDatabase  Mode = "no-database"

	UnknownPolicy Mode = "unknown-policy" // ARF: 422
	UnknownHost   Mode = "unknown-host"   // ARF and host reports: 422; built: 404
	NotBuilding   Mode = "not-building"   // built: 405, the host is in build mode no more
	Conflict      Mode = "conflict"       // built: 409, the change was not saved
)

var modes = []Mode{HTML503, JSON503, BadGateway, Error500, Maintenance, Forbidden, Unauthorize, BuildMode, Hang, Drop, DropAfter, Slow, NoDatabase,
	UnknownPolicy, UnknownHost, NotBuilding, Conflict}

// Rule makes some requests meet a mode. Empty fields match everything.
type Rule struct {
	Mode       Mode          `json:"mode"`
	Path       string        `json:"path,omitempty"` // prefix of the path
	NotPing    bool          `json:"not_ping,omitempty"`
	Host       string        `json:"host,omitempty"`
	Times      int           `json:"times,omitempty"` // 0: always
	Latency    time.Duration `json:"latency_ns,omitempty"`
	RetryAfter string        `json:"retry_after,omitempty"`

	used int
}

// ParseMode reads a mode; "up" is no rule at all.
func ParseMode(s string) (*Rule, error) {
	if s == "" || s == "up" {
		return nil, nil //nolint:nilnil // up is the absence of a rule
	}
	for _, m := range modes {
		if string(m) == s {
			return &Rule{Mode: m}, nil
		}
	}
	return nil, fmt.Errorf("mode %q: choose up or one of %v", s, modes)
}

// SetRules replaces the rules; the first that matches a request holds.
func (s *Server) SetRules(rules ...Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = nil
	for _, r := range rules {
		s.rules = append(s.rules, &r)
	}
}

// rule finds the rule for a request and uses it up.
func (s *Server) rule(r *http.Request, host string) Rule {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rule := range s.rules {
		if !strings.HasPrefix(r.URL.Path, rule.Path) || (rule.Host != "" && rule.Host != host) ||
			(rule.NotPing && r.URL.Path == pingPath) || (rule.Times > 0 && rule.used >= rule.Times) {
			continue
		}
		rule.used++
		return *rule
	}
	return Rule{}
}

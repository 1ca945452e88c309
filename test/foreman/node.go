package standin

import (
	"fmt"
	"html"
	"io"
	"net/http"
	"slices"
	"strings"
)

// asked is what Foreman knows and others ask it for.
type asked struct {
	nodes   map[string]string // by name; not there: one is made up
	content []byte            // of every policy; nil: some
}

// text is an answer that is no JSON.
type text struct {
	status    int
	media     string
	body      string
	versioned bool // it comes from a controller of the API
}

// SetNode makes this the YAML of a node; empty: Foreman does not know it.
func (s *Server) SetNode(name, yaml string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked.nodes == nil {
		s.asked.nodes = map[string]string{}
	}
	s.asked.nodes[name] = yaml
}

// SetContent makes this the SCAP content of every policy.
func (s *Server) SetContent(xml []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked.content = xml
}

// Asked are the requests so far that asked for something, but for pings.
func (s *Server) Asked() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Request
	for _, r := range s.requests {
		if path, _, _ := strings.Cut(r.Path, "?"); path != pingPath && (r.Method != http.MethodPost || path == "/register") {
			all = append(all, *r)
		}
	}
	return all
}

// serveAsked answers what is asked of Foreman; false: the request is none of
// these, or the rule is about what Foreman says to any request.
func (s *Server) serveAsked(w http.ResponseWriter, r *http.Request, rule Rule, rec *Request) bool {
	switch rule.Mode {
	case JSON503, Error500, Forbidden, Unauthorize:
		return false
	}
	t, found := s.answerAsked(r)
	if !found {
		return false
	}
	s.finish(rec, answer{status: t.status})
	w.Header().Set("Content-Type", t.media)
	w.Header().Set("Set-Cookie", "_session_id=secret; path=/; HttpOnly")
	w.Header().Set("Etag", `W/"1"`)
	if t.versioned {
		w.Header().Set("Foreman_version", "3.13.0")
		w.Header().Set("Foreman_api_version", "2")
	}
	if rule.Mode == DropAfter { // in the middle: more is promised than comes
		w.Header().Set("Content-Length", fmt.Sprint(len(t.body)+1))
	}
	w.WriteHeader(t.status)
	_, _ = io.WriteString(w, t.body) // the client may have gone
	if rule.Mode == DropAfter {
		panic(http.ErrAbortHandler)
	}
	return true
}

const plain = "text/plain; charset=utf-8"

func (s *Server) answerAsked(r *http.Request) (text, bool) {
	path := r.URL.Path
	switch {
	case r.Method == http.MethodGet && strings.HasPrefix(path, "/node/"):
		return s.node(strings.TrimPrefix(path, "/node/"), r.URL.Query().Get("format")), true
	case r.Method == http.MethodGet && strings.HasPrefix(path, "/salt/node/"):
		return s.node(strings.TrimPrefix(path, "/salt/node/"), r.URL.Query().Get("format")), true
	case path == "/register" && (r.Method == http.MethodGet || r.Method == http.MethodPost):
		return register(r), true
	case r.Method == http.MethodGet && strings.HasPrefix(path, "/unattended/") && !slices.Contains([]string{"/unattended/built", "/unattended/failed"}, path):
		return template(strings.TrimPrefix(path, "/unattended/"), r.URL.Query().Get("token")), true
	case r.Method == http.MethodGet && strings.HasPrefix(path, "/api/v2/compliance/policies/"):
		return s.scap(path)
	case r.Method == http.MethodPut && path == "/salt/api/v2/salt_autosign_auth":
		return text{http.StatusOK, "application/json; charset=utf-8", `{"message":"ok"}`, true}, true
	}
	return text{}, false
}

// node is hosts#externalNodes: text/plain with format=yml, else a page. No
// controller of the API, so no version header.
func (s *Server) node(name, format string) text {
	s.mu.Lock()
	yaml, known := s.asked.nodes[name]
	s.mu.Unlock()
	if !known {
		yaml = "---\nclasses:\n  ntp:\n    servers: &1\n    - 192.0.2.1\nparameters:\n  name: " + name + "\n  servers: *1\nenvironment: production\n"
	}
	switch {
	case yaml == "":
		return text{http.StatusNotFound, "text/html; charset=utf-8", "<html>not found</html>", false}
	case format != "yml":
		return text{http.StatusOK, "text/html; charset=utf-8", "<pre>" + html.EscapeString(yaml) + "</pre>", false}
	default:
		return text{http.StatusOK, plain, yaml, false}
	}
}

// register is api/v2/registration: a script for whoever has a token.
func register(r *http.Request) text {
	switch {
	case !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer "):
		return text{http.StatusUnauthorized, "application/json; charset=utf-8", `{"error":{"message":"Unable to authenticate user "}}`, false}
	case r.Header.Get("Authorization") == "Bearer of-nobody":
		return text{http.StatusNotFound, plain, "echo \"ERROR: not_found\";\nexit 1\n", true}
	case r.Method == http.MethodGet:
		return text{http.StatusOK, plain, "#!/bin/sh\necho \"to be registered\"\n", true}
	default:
		return text{http.StatusOK, plain, "#!/bin/sh\necho \"registered\"\n", true}
	}
}

// template is unattended#host_template: that of a kind, for the host that has the
// token.
func template(kind, token string) text {
	if token == "" {
		return text{http.StatusNotFound, plain, "# unable to find a host", false}
	}
	return text{http.StatusOK, plain, "# " + kind + "\nd-i passwd/root-password password\n", false}
}

func (s *Server) scap(path string) (text, bool) {
	if !strings.HasSuffix(path, "/content") && !strings.HasSuffix(path, "/tailoring") {
		return text{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	xml := s.asked.content
	if xml == nil {
		xml = []byte("<?xml version=\"1.0\"?><data-stream-collection/>")
	}
	return text{http.StatusOK, "application/xml", string(xml), true}, true
}

package standin

import (
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"
)

const pingPath = "/api/v2/ping"

// ServeHTTP answers as Foreman does, or as the rule for the request says.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, controlPrefix) {
		s.control(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client went away in the middle
	}
	doc, host := read(r, body)
	rec := &Request{At: time.Now(), Method: r.Method, Path: r.URL.RequestURI(), Header: r.Header.Clone(), Body: body, Host: host}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		rec.Client = r.TLS.PeerCertificates[0].Subject.CommonName
	}
	defer s.begin(rec)()
	rule := s.rule(r, host)
	if s.behave(w, r, rule, rec) {
		return
	}
	if s.serveAsked(w, r, rule, rec) {
		return
	}
	a := s.process(r, doc, rule)
	s.finish(rec, a)
	if rule.Mode == DropAfter {
		panic(http.ErrAbortHandler) // the connection ends, and nobody knows
	}
	write(w, a)
}

// read finds the host that a request is about, where its path or body says.
func read(r *http.Request, body []byte) (doc map[string]any, host string) {
	if json.Unmarshal(body, &doc) != nil {
		return nil, ""
	}
	if rest, ok := strings.CutPrefix(r.URL.Path, "/api/v2/compliance/arf_reports/"); ok {
		host, _, _ = strings.Cut(rest, "/")
	}
	for _, member := range []string{"config_report", "host_report"} {
		if report, ok := doc[member].(map[string]any); ok {
			host, _ = report["host"].(string)
		}
	}
	if name, ok := doc["name"].(string); ok && host == "" {
		host = name
	}
	return doc, strings.ToLower(host)
}

// behave does what a rule says that keeps the request from being processed.
func (s *Server) behave(w http.ResponseWriter, r *http.Request, rule Rule, rec *Request) bool {
	if rule.RetryAfter != "" {
		w.Header().Set("Retry-After", rule.RetryAfter)
	}
	switch rule.Mode {
	case Drop:
		panic(http.ErrAbortHandler)
	case Hang:
		select {
		case <-r.Context().Done():
		case <-s.stopping():
		}
		panic(http.ErrAbortHandler)
	case Slow:
		t := time.NewTimer(rule.Latency)
		defer t.Stop()
		select {
		case <-t.C:
			return false
		case <-r.Context().Done(): // the client has given up, or Stop has cut it off
			panic(http.ErrAbortHandler)
		}
	case HTML503:
		s.page(w, rec, http.StatusServiceUnavailable, "<html><head><title>503 Service Unavailable</title></head><body>The server is temporarily unable to service your request.</body></html>")
	case BadGateway:
		s.page(w, rec, http.StatusBadGateway, "<html><head><title>502 Proxy Error</title></head><body>The proxy server received an invalid response.</body></html>")
	case Maintenance:
		s.page(w, rec, http.StatusOK, "<html><body>We are down for maintenance.</body></html>")
	default:
		return false
	}
	return true
}

// page is an answer of something that is not Foreman.
func (s *Server) page(w http.ResponseWriter, rec *Request, status int, html string) {
	s.finish(rec, answer{status: status})
	w.Header().Set("Content-Type", "text/html; charset=iso-8859-1")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, html) // the client may have gone
}

// process is Foreman itself.
func (s *Server) process(r *http.Request, doc map[string]any, rule Rule) answer {
	if r.URL.Path == pingPath && (rule.Mode == Forbidden || rule.Mode == Unauthorize) {
		rule.Mode = "" // the ping needs no user
	}
	switch rule.Mode {
	case JSON503:
		return problem(http.StatusServiceUnavailable, "Foreman::MaintenanceException: There are pending migrations").beforeHeaders()
	case Error500:
		return crash()
	case Forbidden:
		return answer{status: http.StatusForbidden, body: map[string]any{"error": map[string]any{"message": "Access denied", "details": "Missing one of the required permissions: create_config_reports"}}}
	case Unauthorize:
		return answer{status: http.StatusUnauthorized, body: map[string]any{"error": map[string]string{"message": "Unable to authenticate user "}}}.beforeHeaders()
	}
	e := route(r)
	if e == nil {
		return answer{status: http.StatusNotFound, body: map[string]any{"error": map[string]string{"message": "Not found"}}}
	}
	return e.serve(s, r, doc, rule)
}

// post processes a POST of the API that brings JSON.
func (s *Server) post(r *http.Request, doc map[string]any, add func(map[string]any) answer) answer {
	if refused := checkJSON(r, doc); refused != nil {
		return *refused
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return add(doc)
}

// checkJSON checks what every POST and PUT of the API demands: JSON, said and
// meant. Encoded bodies are not decoded.
func checkJSON(r *http.Request, doc map[string]any) *answer {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" {
		return &answer{status: http.StatusUnsupportedMediaType, body: map[string]any{"error": map[string]string{"message": "Media type in 'Content-Type' must be 'application/json'"}}}
	}
	if doc == nil {
		a := answer{status: http.StatusBadRequest, body: map[string]any{"status": 400, "error": "There was a problem in the JSON you submitted: unexpected token"}}.beforeHeaders()
		return &a
	}
	return nil
}

// finish records the answer, before the client can have it.
func (s *Server) finish(rec *Request, a answer) {
	s.mu.Lock()
	rec.Status, rec.Counted = a.status, a.counted
	tell := s.counted
	s.mu.Unlock()
	if a.counted && tell != nil {
		tell(rec)
	}
}

func write(w http.ResponseWriter, a answer) {
	h := w.Header()
	if a.body == nil {
		w.WriteHeader(a.status)
		return
	}
	h.Set("Content-Type", "application/json; charset=utf-8")
	if !a.bare {
		h.Set("Foreman_version", "3.13.0")
		h.Set("Foreman_api_version", "2")
	}
	w.WriteHeader(a.status)
	_ = json.NewEncoder(w).Encode(a.body) // the client may have gone
}

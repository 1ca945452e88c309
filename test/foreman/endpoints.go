package standin

import (
	"net/http"
	"path"
)

// endpoint is one action of Foreman or of a plugin.
type endpoint struct {
	method, pattern string // as path.Match has it
	serve           func(s *Server, r *http.Request, doc map[string]any, rule Rule) answer
}

// endpoints are what the stand-in knows of Foreman (contract, section 3).
func endpoints() []endpoint {
	return append(proxyEndpoints(), []endpoint{
		{http.MethodGet, pingPath, ping},
		{http.MethodPost, "/api/config_reports", api(createReport)},
		{http.MethodPost, "/api/v2/config_reports", api(createReport)},
		{http.MethodPost, "/api/hosts/facts", api(uploadFacts)},
		{http.MethodPost, "/api/v2/hosts/facts", api(uploadFacts)},
		{http.MethodPost, "/api/v2/host_reports", api(createHostReport)},
		{http.MethodPost, "/api/v2/compliance/arf_reports/*/*/*", api(createARF)},
		{http.MethodPost, "/salt/api/v2/jobs/upload", api(uploadJob)},
		{http.MethodPost, "/foreman_tasks/api/tasks/callback", api(callback)},
		{http.MethodGet, "/unattended/built", unattended},
		{http.MethodPost, "/unattended/built", unattended},
		{http.MethodPost, "/unattended/failed", unattended},
	}...)
}

// route finds the endpoint of a request; nil: there is none.
func route(r *http.Request) *endpoint {
	for _, e := range endpoints() {
		if matched, err := path.Match(e.pattern, r.URL.Path); err == nil && matched && e.method == r.Method {
			return &e
		}
	}
	return nil
}

func ping(_ *Server, _ *http.Request, _ map[string]any, rule Rule) answer {
	return answer{status: http.StatusOK, body: map[string]any{"results": map[string]any{"foreman": map[string]any{
		"database": map[string]any{"active": rule.Mode != NoDatabase, "duration_ms": "0"}}}}}
}

// api is an action of Foreman's API that takes JSON.
func api(action func(st *store, r *http.Request, doc map[string]any, rule Rule) answer) func(*Server, *http.Request, map[string]any, Rule) answer {
	return func(s *Server, r *http.Request, doc map[string]any, rule Rule) answer {
		return s.post(r, doc, func(doc map[string]any) answer { return action(&s.store, r, doc, rule) })
	}
}

func createReport(st *store, _ *http.Request, doc map[string]any, _ Rule) answer {
	return st.addReport(doc)
}

func uploadFacts(st *store, _ *http.Request, doc map[string]any, rule Rule) answer {
	if rule.Mode == BuildMode {
		return problem(http.StatusUnprocessableEntity, "ERF42-9911 [Foreman::Exception]: Host is pending for Build")
	}
	return st.addFacts(doc)
}

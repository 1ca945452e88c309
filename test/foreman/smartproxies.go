package standin

import (
	"fmt"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Organization is one of the stand-in's; its title is unique.
type Organization struct {
	ID    int    `json:"id"`
	Name  string `json:"name"`
	Title string `json:"title"`
}

// SmartProxy is one that is registered.
type SmartProxy struct {
	ID            int
	Name, URL     string
	Features      []string // as Foreman calls them
	Organizations []int
}

// registry is what Foreman knows of its smart proxies and of who may register
// them.
type registry struct {
	users         map[string]string
	failures      int
	organizations []Organization
	proxies       []*SmartProxy
	features      map[string]string // Feature.name_map: by the name that a proxy says
	callback      *http.Client
}

// Names of features that Foreman 3.13 and its plugins know (contract, 2.2).
var knownFeatures = []string{"Templates", "TFTP", "DNS", "DHCP", "Puppet CA", "BMC", "Realm", "Facts", "Logs", "HTTPBoot", "External IPAM",
	"Registration", "Puppet", "Openscap", "Reports", "Salt", "Ansible", "Dynflow", "Script", "Pulpcore", "Container_Gateway"}

// The user that a new stand-in knows.
const (
	AdminUser     = "admin"
	AdminPassword = "changeme"
)

func newRegistry() registry {
	g := registry{users: map[string]string{AdminUser: AdminPassword}, features: map[string]string{}, callback: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	g.know(knownFeatures)
	return g
}

func (g *registry) know(names []string) {
	clear(g.features)
	for _, name := range names {
		g.features[strings.ToLower(strings.ReplaceAll(name, " ", ""))] = name
	}
}

// SetOrganizations replaces the organizations; their ids are 1, 2, …
func (s *Server) SetOrganizations(titles ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.registry.organizations = nil
	for i, title := range titles {
		s.registry.organizations = append(s.registry.organizations, Organization{ID: i + 1, Name: path.Base(title), Title: title})
	}
}

// SetFeatures replaces the features that are known.
func (s *Server) SetFeatures(names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.registry.know(names)
}

// CallWith is how smart proxies are asked for their features.
func (s *Server) CallWith(c *http.Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.registry.callback = c
}

// SmartProxies are those that are registered.
func (s *Server) SmartProxies() []SmartProxy {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []SmartProxy
	for _, p := range s.registry.proxies {
		all = append(all, *p)
	}
	return all
}

// Assign replaces the organizations of a smart proxy, as an administrator does.
func (s *Server) Assign(name string, organizations ...int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.registry.byName(name); p != nil {
		p.Organizations = organizations
	}
}

func (g *registry) byName(name string) *SmartProxy {
	i := slices.IndexFunc(g.proxies, func(p *SmartProxy) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return g.proxies[i]
}

// proxyEndpoints are smart_proxies and organizations of Foreman's API, for users.
func proxyEndpoints() []endpoint {
	const proxies = "/api/v2/smart_proxies"
	return []endpoint{
		{http.MethodGet, proxies, asUser((*Server).listProxies)},
		{http.MethodPost, proxies, asUser((*Server).createProxy)},
		{http.MethodGet, proxies + "/*", asUser((*Server).showProxy)},
		{http.MethodPut, proxies + "/*", asUser((*Server).updateProxy)},
		{http.MethodPut, proxies + "/*/refresh", asUser((*Server).refreshProxy)},
		{http.MethodGet, "/api/v2/organizations", asUser((*Server).listOrganizations)},
	}
}

// asUser lets only users in, never a smart proxy by its certificate; whoever
// guesses is shut out (failed_login_attempts_limit).
func asUser(action func(*Server, *http.Request, map[string]any) answer) func(*Server, *http.Request, map[string]any, Rule) answer {
	const mostFailures = 30
	return func(s *Server, r *http.Request, doc map[string]any, _ Rule) answer {
		user, secret, _ := r.BasicAuth()
		s.mu.Lock()
		known, exists := s.registry.users[user]
		right, shut := exists && known == secret, s.registry.failures >= mostFailures
		if !right {
			s.registry.failures++
		}
		s.mu.Unlock()
		switch {
		case shut:
			return failure(http.StatusUnauthorized, "Too many tries, please try again in a few minutes.").beforeHeaders()
		case !right:
			return failure(http.StatusUnauthorized, "Unable to authenticate user "+user).beforeHeaders()
		}
		if r.Method != http.MethodGet {
			if refused := checkJSON(r, doc); refused != nil {
				return *refused
			}
		}
		return action(s, r, doc)
	}
}

func failure(status int, message string) answer {
	return answer{status: status, body: map[string]any{"error": map[string]string{"message": message}}}
}

func (s *Server) listProxies(r *http.Request, _ map[string]any) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := []any{}
	for _, p := range s.registry.proxies {
		if matches(r, map[string]string{"id": strconv.Itoa(p.ID), "name": p.Name, "url": p.URL}) {
			shown := s.registry.shown(p)
			delete(shown, "organizations")
			found = append(found, shown)
		}
	}
	return page(found)
}

func (s *Server) listOrganizations(r *http.Request, _ map[string]any) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := []any{}
	for _, o := range s.registry.organizations {
		if matches(r, map[string]string{"id": strconv.Itoa(o.ID), "name": o.Name, "title": o.Title}) {
			found = append(found, o)
		}
	}
	return page(found)
}

func page(found []any) answer {
	return answer{status: http.StatusOK, body: map[string]any{"total": len(found), "subtotal": len(found), "page": 1, "per_page": 20, "results": found}}
}

// matches reads a search of one field, FIELD="VALUE", as scoped_search does.
func matches(r *http.Request, fields map[string]string) bool {
	search := r.URL.Query().Get("search")
	field, value, _ := strings.Cut(search, "=")
	if search == "" {
		return true
	}
	if quoted, ok := strings.CutPrefix(value, `"`); ok {
		value = ""
		for i := 0; i < len(quoted) && quoted[i] != '"'; i++ {
			if quoted[i] == '\\' {
				i++
			}
			value += quoted[i : i+1]
		}
	}
	return fields[field] == value
}

// shown is a smart proxy in an answer.
func (g *registry) shown(p *SmartProxy) map[string]any {
	features, organizations := []any{}, []any{}
	for i, name := range p.Features {
		features = append(features, map[string]any{"capabilities": []string{}, "name": name, "id": i + 1})
	}
	for _, o := range g.organizations {
		if slices.Contains(p.Organizations, o.ID) {
			organizations = append(organizations, map[string]any{"id": o.ID, "name": o.Name, "title": o.Title, "description": nil})
		}
	}
	return map[string]any{"id": p.ID, "name": p.Name, "url": p.URL, "hosts_count": 0, "created_at": "2026-01-01 00:00:00 UTC", "updated_at": "2026-01-01 00:00:00 UTC",
		"features": features, "locations": []any{}, "organizations": organizations}
}

func (s *Server) showProxy(r *http.Request, _ map[string]any) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.registry.proxyOf(r)
	if p == nil {
		return notThere(r)
	}
	return answer{status: http.StatusOK, body: s.registry.shown(p)}
}

// proxyOf is the one that the path names, by id or name; nil: none.
func (g *registry) proxyOf(r *http.Request) *SmartProxy {
	id := strings.Split(r.URL.Path, "/")[4]
	i := slices.IndexFunc(g.proxies, func(p *SmartProxy) bool { return strconv.Itoa(p.ID) == id || p.Name == id })
	if i < 0 {
		return nil
	}
	return g.proxies[i]
}

func notThere(r *http.Request) answer {
	return failure(http.StatusNotFound, fmt.Sprintf("Resource smart_proxy not found by id '%s'", strings.Split(r.URL.Path, "/")[4]))
}

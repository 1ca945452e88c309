package standin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"syscall"
)

func (s *Server) createProxy(_ *http.Request, doc map[string]any) answer {
	p := &SmartProxy{}
	s.mu.Lock()
	refused := s.registry.take(p, doc)
	s.mu.Unlock()
	if refused != nil {
		return *refused
	}
	if refused := s.associate(p); refused != nil {
		return *refused
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store.nextID++
	p.ID = s.store.nextID
	s.registry.proxies = append(s.registry.proxies, p)
	return answer{status: http.StatusCreated, body: s.registry.shown(p)}
}

func (s *Server) updateProxy(r *http.Request, doc map[string]any) answer {
	return s.change(r, func(p *SmartProxy) *answer { return s.registry.take(p, doc) })
}

func (s *Server) refreshProxy(r *http.Request, _ map[string]any) answer {
	return s.change(r, func(*SmartProxy) *answer { return nil })
}

// change changes a copy, which is kept once the proxy has said its features.
func (s *Server) change(r *http.Request, do func(*SmartProxy) *answer) answer {
	s.mu.Lock()
	p := s.registry.proxyOf(r)
	if p == nil {
		s.mu.Unlock()
		return notThere(r)
	}
	after := *p
	refused := do(&after)
	s.mu.Unlock()
	if refused != nil {
		return *refused
	}
	if refused := s.associate(&after); refused != nil {
		return *refused
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	*p = after
	return answer{status: http.StatusOK, body: s.registry.shown(p)}
}

// take puts the request's values into p, as the validations of
// app/models/smart_proxy.rb let it.
func (g *registry) take(p *SmartProxy, doc map[string]any) *answer {
	fields, _ := doc["smart_proxy"].(map[string]any)
	if name, ok := fields["name"].(string); ok {
		p.Name = name
	}
	if url, ok := fields["url"].(string); ok {
		p.URL = strings.TrimSuffix(url, "/")
	}
	if ids, ok := fields["organization_ids"].([]any); ok {
		p.Organizations = nil
		for _, id := range ids {
			n, _ := id.(float64)
			if !slices.ContainsFunc(g.organizations, func(o Organization) bool { return o.ID == int(n) }) {
				a := failure(http.StatusUnprocessableEntity, fmt.Sprintf("Couldn't find Organization with 'id'=%v", id))
				return &a
			}
			p.Organizations = append(p.Organizations, int(n))
		}
	}
	if len(g.organizations) == 1 && p.ID == 0 && p.Organizations == nil { // assign_lone_taxonomies
		p.Organizations = []int{g.organizations[0].ID}
	}
	return g.validate(p)
}

func (g *registry) validate(p *SmartProxy) *answer {
	switch {
	case p.Name == "":
		return invalid(p, "name", "can't be blank")
	case p.URL == "":
		return invalid(p, "url", "can't be blank")
	}
	for _, other := range g.proxies {
		switch {
		case other.ID == p.ID:
		case other.Name == p.Name:
			return invalid(p, "name", "has already been taken")
		case other.URL == p.URL:
			return invalid(p, "url", "Only one declaration of a proxy is allowed")
		}
	}
	return nil
}

// invalid is unprocessable_entity.json.rabl.
func invalid(p *SmartProxy, field string, messages ...string) *answer {
	var id any
	if p.ID != 0 {
		id = p.ID
	}
	full := slices.Clone(messages)
	if field != "base" {
		full = []string{strings.ToUpper(field[:1]) + field[1:] + " " + messages[0]}
	}
	return &answer{status: http.StatusUnprocessableEntity, body: map[string]any{"error": map[string]any{"id": id,
		"errors": map[string][]string{field: messages}, "full_messages": full}}}
}

// associate asks the proxy for its features (associate_features); without any
// that Foreman knows nothing is saved.
func (s *Server) associate(p *SmartProxy) *answer {
	said, err := s.featuresOf(p.URL)
	switch {
	case errors.Is(err, errNoFeatures):
		return invalid(p, "base", "An invalid response was received while requesting available features from this proxy")
	case err != nil:
		return invalid(p, "base", "Unable to communicate with the proxy: "+err.Error(), "Please check the proxy is configured and running on the host.")
	case len(said) == 0:
		return invalid(p, "base", "No features found on this proxy, please make sure you enable at least one feature")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p.Features = nil
	for _, name := range said {
		if known, ok := s.registry.features[name]; ok {
			p.Features = append(p.Features, known)
		}
	}
	if len(p.Features) == 0 {
		return invalid(p, "base", `Features "`+strings.Join(said, ", ")+`" in this proxy are not recognized by Foreman. `+
			"If these features come from a Smart Proxy plugin, make sure Foreman has the plugin installed too.")
	}
	return nil
}

// errNoFeatures is an answer of the proxy that Foreman cannot use.
var errNoFeatures = errors.New("an answer without features")

// featuresOf is what runs there; only a 404 makes Foreman ask in the old way.
func (s *Server) featuresOf(url string) ([]string, error) {
	var modules map[string]struct {
		State string `json:"state"`
	}
	status, err := s.askProxy(url+"/v2/features", &modules)
	if status == http.StatusNotFound {
		var names []string
		_, err := s.askProxy(url+"/features", &names)
		return names, err
	}
	var running []string
	for name, m := range modules {
		if m.State == "running" {
			running = append(running, name)
		}
	}
	slices.Sort(running)
	return running, err
}

func (s *Server) askProxy(url string, into any) (status int, err error) {
	s.mu.Lock()
	client := s.registry.callback
	s.mu.Unlock()
	undetected := func(format string, args ...any) error {
		return fmt.Errorf("ERF12-2530 [ProxyAPI::ProxyException]: Unable to detect features (%s) for proxy %s", fmt.Sprintf(format, args...), url)
	}
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return 0, undetected("[URI::InvalidURIError]: %v", err)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("X-Request-Id", "5f4dcc3b-5aa7-65d6-1d83-27deb882cf99")
	req.Header.Set("X-Session-Id", "1b6453892473a467d07372d45eb05abc2031647a")
	resp, err := client.Do(req)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return 0, undetected("[Errno::ECONNREFUSED]: Connection refused")
	case err != nil:
		return 0, undetected("[OpenSSL::SSL::SSLError]: %v", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode >= 400 {
		return resp.StatusCode, undetected("[RestClient::%s]: %d %s", strings.ReplaceAll(http.StatusText(resp.StatusCode), " ", ""), resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil || json.Unmarshal(text, into) != nil {
		return resp.StatusCode, errNoFeatures
	}
	return resp.StatusCode, nil
}

package standin

import (
	"encoding/json"
	"net/http"
)

// controlPrefix is where the stand-in itself is asked and told, over HTTP.
const controlPrefix = "/_standin/"

// Stats sum up what has come.
type Stats struct {
	Requests int `json:"requests"` // but for pings
	Counted  int `json:"counted"`
	Most     int `json:"most_at_one_time"`
	Together int `json:"most_for_one_host"`
}

// Stats are the sums so far.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{Most: s.most}
	for _, r := range s.recorded(false) {
		st.Requests++
		if r.Counted {
			st.Counted++
		}
		if r.Host != "" {
			st.Together = max(st.Together, r.SameNow)
		}
	}
	return st
}

// control: GET requests, counted, reports, stats; PUT rules (a JSON list); DELETE requests.
func (s *Server) control(w http.ResponseWriter, r *http.Request) {
	var out any
	switch r.Method + " " + r.URL.Path[len(controlPrefix):] {
	case "GET requests":
		out = s.Requests()
	case "GET counted":
		out = s.Counted()
	case "GET reports":
		out = s.Reports()
	case "GET stats":
		out = s.Stats()
	case "DELETE requests":
		s.Forget()
	case "PUT rules":
		var rules []Rule
		decoder := json.NewDecoder(r.Body)
		decoder.DisallowUnknownFields()
		err := decoder.Decode(&rules)
		for _, rule := range rules {
			if _, unknown := ParseMode(string(rule.Mode)); unknown != nil && err == nil {
				err = unknown
			}
		}
		if err != nil {
			http.Error(w, "rules must be a JSON list of rules: "+err.Error(), http.StatusBadRequest)
			return
		}
		s.SetRules(rules...)
	default:
		http.Error(w, "the stand-in knows GET requests, counted, reports, stats; PUT rules; DELETE requests", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out) // the client may have gone
}

package standin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// store is what Foreman keeps in its database.
type store struct {
	reports map[string]bool     // by host, type and reported_at
	order   map[string][]string // by host: reported_at as they were counted
	facts   map[string]json.RawMessage
	arfs    map[string]bool // by host and date
	nextID  int
}

func newStore() store {
	return store{reports: map[string]bool{}, order: map[string][]string{}, facts: map[string]json.RawMessage{}, arfs: map[string]bool{}}
}

// answer is a status and a document.
type answer struct {
	status  int
	body    any
	counted bool
	bare    bool
}

// beforeHeaders: Foreman answers so before it sets its version headers.
func (a answer) beforeHeaders() answer {
	a.bare = true
	return a
}

func problem(status int, text string) answer {
	return answer{status: status, body: map[string]string{"message": text}}
}

// crash is what Foreman says when it has run into an exception: poison looks
// like a fault of the server, but comes again and again.
func crash() answer {
	return answer{status: http.StatusInternalServerError, body: map[string]any{"error": map[string]string{"message": "Internal Server Error: the server was unable to finish the request. "}}}
}

// addReport is config_reports#create: one report of a type by host and
// reported_at (app/models/report.rb:20).
func (st *store) addReport(doc map[string]any) answer {
	report, ok := doc["config_report"].(map[string]any)
	if !ok {
		return problem(http.StatusUnprocessableEntity, "ERF42-2399 [Foreman::Exception]: Invalid report")
	}
	host, isText := report["host"].(string)
	text, _ := report["reported_at"].(string)
	at, err := parseTime(text)
	if !isText || host == "" || err != nil {
		return crash()
	}
	host = strings.ToLower(host)
	key := host + "\x00ConfigReport\x00" + at.UTC().Truncate(time.Second).Format(time.RFC3339)
	if st.reports[key] {
		return answer{status: http.StatusUnprocessableEntity, body: map[string]any{"error": map[string]any{"id": nil,
			"errors":        map[string][]string{"reported_at": {"has already been taken"}},
			"full_messages": []string{"Reported at has already been taken"}}}}
	}
	st.reports[key] = true
	st.order[host] = append(st.order[host], text)
	st.nextID++
	return answer{status: http.StatusCreated, counted: true, body: map[string]any{"id": st.nextID, "host_name": host, "reported_at": text}}
}

// addFacts is hosts#facts: an upsert, whatever the order.
func (st *store) addFacts(doc map[string]any) answer {
	name, isText := doc["name"].(string)
	if !isText || name == "" {
		return problem(http.StatusUnprocessableEntity, "Invalid Hostname, must be a String")
	}
	name = strings.ToLower(name)
	facts, err := json.Marshal(doc["facts"])
	if err != nil {
		return crash()
	}
	st.facts[name] = facts
	return answer{status: http.StatusCreated, counted: true, body: map[string]any{"id": len(st.facts), "name": name}}
}

var layouts = []string{"2006-01-02 15:04:05 UTC", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05 -0700",
	"2006-01-02 15:04:05 -07:00", time.RFC3339,
	"2006-01-02 15:04:05", "2006-01-02T15:04:05"}

func parseTime(s string) (time.Time, error) {
	for _, layout := range layouts {
		if t, err := time.Parse(layout, strings.TrimSpace(s)); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("no time information in %q", s)
}

// Facts are the last facts of a host.
func (s *Server) Facts(host string) json.RawMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store.facts[strings.ToLower(host)]
}

package foreman

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

// maxBody bounds an upload, in bytes after decoding. Puppet's largest measured
// facts are 33 kB, Ansible's 294 kB, a compressed ARF 365 kB; a report grows
// with the number of changed resources.
const maxBody = 8 << 20

// jsonMedia is what Foreman's API takes; it answers 415 to anything else.
const jsonMedia = "application/json"

// Routes lists the requests that are taken for Foreman, with what each of their
// clients needs to be answered (contract, section 0).
func Routes(p relay.Policy) []relay.Route {
	routes := slices.Concat(configRoutes(p), hostReportRoutes(p), saltRoutes(p), callbackRoutes(p), unattendedRoutes(p), arfRoutes())
	for i := range routes {
		routes[i].Destination = relay.ForemanDestination
		if routes[i].MaxBody == 0 {
			routes[i].MaxBody = maxBody
		}
		if routes[i].Policy == (relay.Policy{}) {
			routes[i].Policy = p
		}
	}
	return routes
}

// jsonRoute is a POST of JSON that is delivered to the path that was asked.
func jsonRoute(name, schema string, paths ...string) relay.Route {
	return relay.Route{Name: name, Method: http.MethodPost, Paths: paths, Schema: schema,
		ContentTypes: []string{jsonMedia}, DecodeGzip: true, Reply: relay.Reply{Status: http.StatusAccepted}}
}

// configRoutes are those of Puppet's report processor and ENC and of Ansible's
// callback.
func configRoutes(p relay.Policy) []relay.Route {
	report := jsonRoute("report", "config_report", "/api/config_reports", "/api/v2/config_reports")
	report.Lane.From = []relay.Source{relay.Pointer("/config_report/host")}
	report.Hosts = []relay.Source{relay.HostAt("/config_report/host")}
	// Foreman itself keeps one report of a type by host and reported_at.
	report.Key = relay.KeyRule{Type: "config_report", From: []relay.Source{
		relay.Through(normalHost, relay.Pointer("/config_report/host")),
		relay.Through(normalTime, relay.Pointer("/config_report/reported_at"))}}
	report.Reply.Status = http.StatusCreated

	facts := jsonRoute("facts", "facts", "/api/hosts/facts", "/api/v2/hosts/facts")
	facts.Lane.From = []relay.Source{relay.Pointer("/name")}                       // no key: of A, B, A the last A must win
	facts.Hosts = []relay.Source{relay.HostAt("/name"), relay.HostAt("/certname")} // Foreman finds the host by either
	// Foreman keeps the last upload of each type; those of another type stay.
	facts.Kind = []relay.Source{relay.Pointer("/facts/_type")}
	facts.Policy = p
	facts.Policy.Latest = true
	return []relay.Route{report, facts}
}

func normalHost(value string) string { return strings.ToLower(strings.TrimSpace(value)) }

// The spellings of reported_at that the known clients use: Puppet's and
// Ansible's. Any other is kept as it is: it makes a key of its own.
var timeLayouts = [...]string{"2006-01-02 15:04:05 UTC", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05 -0700",
	"2006-01-02 15:04:05 -07:00", time.RFC3339, "2006-01-02 15:04:05", "2006-01-02T15:04:05"}

func normalTime(value string) string {
	value = strings.TrimSpace(value)
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, value); err == nil {
			return t.UTC().Format(time.RFC3339Nano)
		}
	}
	return value
}

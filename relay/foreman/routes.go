package foreman

import (
	"net/http"
	"strings"
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

// maxBody bounds a report or facts upload, in bytes after decoding. Puppet's
// largest measured facts are 33 kB, Ansible's 294 kB; a report grows with the
// number of changed resources.
const maxBody = 8 << 20

// Routes lists the requests that are taken for Foreman, with what each of their
// clients needs to be answered.
func Routes(p relay.Policy) []relay.Route {
	json := []string{"application/json"}
	return []relay.Route{
		{
			Name: "report", Method: http.MethodPost, Paths: []string{"/api/config_reports", "/api/v2/config_reports"},
			Destination: relay.ForemanDestination, Schema: "config_report", ContentTypes: json, MaxBody: maxBody, DecodeGzip: true,
			Lane: relay.LaneRule{Pointers: []string{"/config_report/host"}},
			// Foreman itself keeps one report of a type by host and reported_at.
			Key: relay.KeyRule{Type: "config_report", Normalize: normalize,
				Pointers: []string{"/config_report/host", "/config_report/reported_at"}},
			Reply: relay.Reply{Status: http.StatusCreated}, Policy: p,
		},
		{
			Name: "facts", Method: http.MethodPost, Paths: []string{"/api/hosts/facts", "/api/v2/hosts/facts"},
			Destination: relay.ForemanDestination, Schema: "facts", ContentTypes: json, MaxBody: maxBody, DecodeGzip: true,
			Lane: relay.LaneRule{Pointers: []string{"/name"}},
			// No key: of A, B, A the last A must win.
			Reply: relay.Reply{Status: http.StatusAccepted}, Policy: p,
		},
	}
}

// normalize makes one spelling of a report's host and time.
func normalize(i int, value string) string {
	if i == 0 {
		return strings.ToLower(strings.TrimSpace(value))
	}
	return normalTime(value)
}

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

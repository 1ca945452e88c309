package foreman

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/outgoing"
)

// hostReport is what Foreman's POST /api/v2/host_reports takes. Proxy is left
// out: only a registered smart proxy's name would be found.
type hostReport struct {
	Format     string   `json:"format"`
	Version    int      `json:"version"`
	Host       string   `json:"host"`
	ReportedAt string   `json:"reported_at"`
	Body       string   `json:"body"` // JSON in a string
	Keywords   []string `json:"keywords"`
	counts
}

// counts are the numbers that Foreman lists reports by.
type counts struct {
	Change   int64 `json:"change"`
	NoChange int64 `json:"nochange"`
	Failure  int64 `json:"failure"`
}

// summary is a report's counts, and those in the tool's own words.
type summary struct {
	Foreman counts `json:"foreman"`
	Native  any    `json:"native"`
}

// hostReportDelivery makes the request. The time is when the relay took the
// report: the same at each attempt.
//
// The edge has let the sender speak for the message's lane, and no more of the
// report was looked at there: a report that is read as another host's is nobody's.
func hostReportDelivery(r hostReport, m *relay.Message, body any) (outgoing.Delivery, error) {
	if host := normalHost(r.Host); m.Lane != "" && host != m.Lane {
		return outgoing.Delivery{}, fmt.Errorf("the report names two hosts: it was taken as one of %q, and is one of %q", m.Lane, host)
	}
	text, err := json.Marshal(body)
	if err != nil {
		return outgoing.Delivery{}, fmt.Errorf("write the report as JSON: %w", err)
	}
	r.Version, r.ReportedAt, r.Body = 1, rubyTime(m.Received), string(text)
	all, err := json.Marshal(map[string]hostReport{"host_report": r})
	if err != nil {
		return outgoing.Delivery{}, fmt.Errorf("write the host report as JSON: %w", err)
	}
	return outgoing.Delivery{Path: hostReportsPath, ContentType: jsonMedia, Body: all}, nil
}

// rubyTime is a time as Ruby's Time#to_s writes it in UTC.
func rubyTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// keywords are a set in the order in which they were added.
type keywords struct {
	list []string
	seen map[string]bool
}

// all is a list, an empty one too.
func (k *keywords) all() []string { return append([]string{}, k.list...) }

func (k *keywords) add(words ...string) {
	if k.seen == nil {
		k.seen = map[string]bool{}
	}
	for _, w := range words {
		if !k.seen[w] {
			k.seen[w] = true
			k.list = append(k.list, w)
		}
	}
}

package foreman

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/theforeman/foreman-relay/relay"
)

// ansibleReport is what Ansible's callback sends to a smart proxy.
type ansibleReport struct {
	UUID       any              `json:"uuid"`
	Host       string           `json:"host"`
	ReportedAt any              `json:"reported_at"`
	CheckMode  any              `json:"check_mode"`
	Summary    map[string]any   `json:"summary"`
	Status     map[string]any   `json:"status"` // of collections before 3.1 in place of the summary
	Results    []map[string]any `json:"results"`
}

// ansibleBody is the body of a host report of format ansible, in the shape that
// smart_proxy_reports 1.0 gives it.
type ansibleBody struct {
	Format          string           `json:"format"`
	ID              any              `json:"id"`
	Host            string           `json:"host"`
	ReportedAt      any              `json:"reported_at"`
	ReportedAtProxy string           `json:"reported_at_proxy"`
	Results         []map[string]any `json:"results"`
	Summary         summary          `json:"summary"`
	Keywords        []string         `json:"keywords"`
	CheckMode       any              `json:"check_mode"`
}

// maxAnsibleResults bounds a report: a result of three bytes becomes one of fifty.
const maxAnsibleResults = 20_000

// convertAnsible makes a host report of it. Facts that it holds are not sent: one
// attempt is one request.
func convertAnsible(_ context.Context, _ Options, m *relay.Message) (delivery, error) {
	var r ansibleReport
	decoder := json.NewDecoder(bytes.NewReader(m.Body))
	decoder.UseNumber() // numbers stay as they were written
	if err := decoder.Decode(&r); err != nil {
		return delivery{}, fmt.Errorf("the body is no report of Ansible: %w", err)
	}
	if strings.TrimSpace(r.Host) == "" {
		return delivery{}, errors.New("the report of Ansible names no host")
	}
	if len(r.Results) > maxAnsibleResults {
		return delivery{}, fmt.Errorf("the report of Ansible has %d results, more than %d", len(r.Results), maxAnsibleResults)
	}
	var n counts
	var words keywords
	for _, result := range r.Results {
		describe(result, &n, &words)
	}
	body := ansibleBody{Format: "ansible", ID: r.UUID, Host: r.Host, ReportedAt: r.ReportedAt, ReportedAtProxy: rubyTime(m.Received),
		Results: r.Results, Summary: summary{Foreman: n, Native: r.native()}, Keywords: words.all(), CheckMode: r.CheckMode}
	if body.ID == nil {
		body.ID = relay.UUID(m.ID)
	}
	return hostReportDelivery(hostReport{Format: "ansible", Host: r.Host, Keywords: body.Keywords, counts: n}, m, body)
}

// describe adds to a result its level and a line for people, and counts it.
func describe(result map[string]any, n *counts, words *keywords) {
	outcome, _ := result["result"].(map[string]any)
	task, _ := result["task"].(map[string]any)
	changed, failed := isTrue(outcome["changed"]), isTrue(result["failed"])
	switch {
	case failed:
		result["level"] = "err"
		words.add("AnsibleFailure", fmt.Sprint("AnsibleFailure:", text(task["action"])))
	case changed:
		result["level"] = "notice"
		words.add("AnsibleChanged")
	default:
		result["level"] = "info"
	}
	result["friendly_message"] = friendly(outcome, task, failed)
	if changed {
		n.Change++
	} else {
		n.NoChange++
	}
	if failed {
		n.Failure++
	}
}

// friendly is one line about a task: what it said itself, else its name or that
// of its module. (smart_proxy_reports has a phrase of its own for each of thirty
// modules.)
func friendly(outcome, task map[string]any, failed bool) string {
	said, label, module := text(outcome["msg"]), text(task["name"]), text(task["action"])
	switch {
	case said != "" && (failed || label == ""):
		return said
	case label != "":
		return label
	case module != "":
		return module
	}
	return "N/A"
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// native is the summary in Ansible's own words.
func (r *ansibleReport) native() any {
	switch {
	case r.Summary != nil:
		return r.Summary
	case r.Status == nil:
		return map[string]any{}
	}
	native := map[string]any{"ignored": 0, "ok": 0, "rescued": 0, "unreachable": 0}
	for to, from := range map[string]string{"changed": "applied", "failures": "failed", "skipped": "skipped"} {
		native[to] = 0
		if v := r.Status[from]; v != nil {
			native[to] = v
		}
	}
	return native
}

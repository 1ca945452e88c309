package foreman

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/theforeman/foreman-relay/relay"
)

// maxEvaluationTimes is how many resources a report names by the time they took;
// the rest is added up.
const maxEvaluationTimes = 29

// puppetBody is the body of a host report of format puppet, in the shape that
// smart_proxy_reports 1.0 gives it.
type puppetBody struct {
	Format           string   `json:"format"`
	ID               any      `json:"id"`
	Host             string   `json:"host"`
	ReportedAt       any      `json:"reported_at"`
	ReportedAtProxy  string   `json:"reported_at_proxy"`
	ReportFormat     any      `json:"report_format"`
	PuppetVersion    any      `json:"puppet_version"`
	Environment      any      `json:"environment"`
	Metrics          any      `json:"metrics"`
	Logs             [][]any  `json:"logs"`
	ResourceStatuses []string `json:"resource_statuses"`
	Summary          summary  `json:"summary"`
	EvaluationTimes  [][2]any `json:"evaluation_times"`
	Keywords         []string `json:"keywords"`
}

// convertPuppet makes a host report of what Puppet's "http" report processor
// sends.
func convertPuppet(_ context.Context, _ Options, m *relay.Message) (delivery, error) {
	value, err := parseYAML(m.Body)
	if err != nil {
		return delivery{}, err
	}
	report, ok := value.(*object)
	if !ok {
		return delivery{}, errors.New("the body is no report of Puppet: it is no mapping")
	}
	host, _ := report.get("host").(string)
	if strings.TrimSpace(host) == "" {
		return delivery{}, errors.New("the report of Puppet names no host")
	}
	p := puppetReport{report: report}
	body := p.body(m, host)
	return hostReportDelivery(hostReport{Format: "puppet", Host: host, Keywords: body.Keywords, counts: body.Summary.Foreman}, m, body)
}

// puppetReport is one report while it is converted.
type puppetReport struct {
	report *object
	words  keywords
	times  []evaluation
}

// evaluation is how long a resource took, in seconds.
type evaluation struct {
	resource string
	seconds  any // as it was written; nothing where there was nothing
}

func (p *puppetReport) body(m *relay.Message, host string) puppetBody {
	r := p.report
	b := puppetBody{Format: "puppet", ID: r.get("transaction_uuid"), Host: host, ReportedAt: r.get("time"),
		ReportedAtProxy: rubyTime(m.Received), ReportFormat: r.get("report_format"), PuppetVersion: r.get("puppet_version"),
		Environment: r.get("environment"), Metrics: r.get("metrics")}
	if b.ID == nil {
		b.ID = relay.UUID(m.ID)
	}
	p.rootKeywords()
	b.Logs = p.logs()
	b.ResourceStatuses = p.resources()
	b.Summary = p.summary()
	b.EvaluationTimes = p.evaluationTimes()
	b.Keywords = p.words.all()
	return b
}

func (p *puppetReport) rootKeywords() {
	switch p.report.get("status") {
	case "changed":
		p.words.add("PuppetStatusChanged")
	case "unchanged":
		p.words.add("PuppetStatusUnchanged")
	case "failed":
		p.words.add("PuppetStatusFailed")
	}
	if isTrue(p.report.get("noop")) {
		p.words.add("PuppetNoop")
	}
	if isTrue(p.report.get("noop_pending")) {
		p.words.add("PuppetNoopPending")
	}
}

func isTrue(v any) bool { return v == true || v == "true" }

func (p *puppetReport) logs() [][]any {
	lines, _ := p.report.get("logs").([]any)
	logs := make([][]any, 0, len(lines))
	for _, line := range lines {
		if o, ok := line.(*object); ok {
			logs = append(logs, []any{o.get("level"), o.get("source"), o.get("message")})
		}
	}
	return logs
}

// resourceWords are the members of a resource's status that make a keyword.
var resourceWords = [...][2]string{{"corrective_change", "PuppetCorrectiveChange"}, {"skipped", "PuppetSkipped"},
	{"restarted", "PuppetRestarted"}, {"scheduled", "PuppetScheduled"}, {"out_of_sync", "PuppetOutOfSync"}}

func (p *puppetReport) resources() []string {
	all, _ := p.report.get("resource_statuses").(*object)
	if all == nil {
		return []string{}
	}
	for _, resource := range all.keys {
		status, _ := all.get(resource).(*object)
		p.times = append(p.times, evaluation{resource, status.get("evaluation_time")})
		if isTrue(status.get("failed")) {
			p.words.add("PuppetFailed:"+resource, "PuppetFailed")
		}
		if isTrue(status.get("failed_to_restart")) {
			p.words.add("PuppetFailedToRestart:"+resource, "PuppetFailedToRestart")
		}
		for _, w := range resourceWords {
			if isTrue(status.get(w[0])) {
				p.words.add(w[1])
			}
		}
		if environment := p.report.get("environment"); environment != nil {
			p.words.add(fmt.Sprint("PuppetEnvironment:", environment))
		}
	}
	return all.keys
}

// summary counts from Puppet's own metrics; zeros where it sent none.
func (p *puppetReport) summary() summary {
	events, resources := p.metric("events"), p.metric("resources")
	if events == nil || resources == nil {
		return summary{Native: map[string]any{}}
	}
	success, failure, total := whole(events.get("success")), whole(events.get("failure")), whole(resources.get("total"))
	return summary{Foreman: counts{Change: success, NoChange: total - failure - success, Failure: failure}, Native: resources}
}

// metric is the values of one metric by name: they come as [name, label, value].
func (p *puppetReport) metric(name string) *object {
	metrics, _ := p.report.get("metrics").(*object)
	metric, _ := metrics.get(name).(*object)
	values, ok := metric.get("values").([]any)
	if !ok {
		return nil
	}
	found := &object{values: map[string]any{}}
	for _, v := range values {
		if triple, ok := v.([]any); ok && len(triple) == 3 {
			found.set(fmt.Sprint(triple[0]), triple[2])
		}
	}
	return found
}

// evaluationTimes are those of the slowest resources, and of the others together.
func (p *puppetReport) evaluationTimes() [][2]any {
	sort.SliceStable(p.times, func(i, j int) bool { return number(p.times[i].seconds) > number(p.times[j].seconds) })
	list := make([][2]any, 0, min(len(p.times), maxEvaluationTimes+1))
	others := 0.0
	for i, t := range p.times {
		if i < maxEvaluationTimes {
			list = append(list, [2]any{t.resource, t.seconds})
			continue
		}
		others += number(t.seconds)
	}
	if others > 0.0001 {
		list = append(list, [2]any{"Others", others})
	}
	return list
}

func number(v any) float64 {
	switch v := v.(type) {
	case float64:
		return v
	case uint64:
		return float64(v)
	case int64:
		return float64(v)
	}
	return 0
}

func whole(v any) int64 { return int64(number(v)) }

package foreman

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/theforeman/foreman-relay/relay"
)

// arfReport is what smart_proxy_openscap 0.12 sends to Foreman for an ARF.
type arfReport struct {
	Logs      []arfLog   `json:"logs"`
	Digest    string     `json:"digest"` // SHA-256 of the bzip2
	Metrics   arfMetrics `json:"metrics"`
	Score     *float64   `json:"score"`
	ProxyName string     `json:"openscap_proxy_name,omitempty"`
	ProxyURL  string     `json:"openscap_proxy_url,omitempty"`
}

type arfMetrics struct {
	Passed  int `json:"passed"`
	Failed  int `json:"failed"`
	Othered int `json:"othered"`
}

// arfLog is the result of one rule, with what the benchmark says of it.
type arfLog struct {
	Source      string         `json:"source"`
	Result      string         `json:"result"`
	Title       string         `json:"title"`
	Description string         `json:"description"`
	Rationale   string         `json:"rationale"`
	References  []arfReference `json:"references"`
	Fixes       []arfFixText   `json:"fixes"`
	Severity    string         `json:"severity"`
}

type arfFixText struct {
	ID       *string `json:"id"`
	System   *string `json:"system"`
	FullText string  `json:"full_text"`
	Reboot   *string `json:"reboot"`
}

// convertARF makes the JSON that Foreman takes of the bzip2 ARF that a host sent.
func convertARF(ctx context.Context, o Options, m *relay.Message) (delivery, error) {
	test, err := readARF(ctx, m.Body)
	if err != nil {
		return delivery{}, err
	}
	report := test.report()
	report.Digest, report.ProxyName, report.ProxyURL = m.Digest, o.OpenSCAPProxyName, o.OpenSCAPProxyURL
	body, err := json.Marshal(report)
	if err != nil {
		return delivery{}, fmt.Errorf("write the ARF report as JSON: %w", err)
	}
	return delivery{path: m.Path, contentType: jsonMedia, body: body}, nil
}

// report leaves out the rules that were not tested.
func (t *arfTest) report() arfReport {
	r := arfReport{Logs: []arfLog{}, Score: t.score}
	for _, result := range t.results {
		switch result[1] {
		case "notapplicable", "notselected":
			continue
		case "pass", "fixed":
			r.Metrics.Passed++
		case "fail":
			r.Metrics.Failed++
		default:
			r.Metrics.Othered++
		}
		r.Logs = append(r.Logs, t.log(result[0], result[1]))
	}
	return r
}

func (t *arfTest) log(rule, result string) arfLog {
	l := arfLog{Source: rule, Result: result, References: []arfReference{}, Fixes: []arfFixText{}}
	known := t.rules[rule]
	if known == nil {
		return l
	}
	l.Title, l.Description, l.Rationale, l.Severity = known.title, known.description, known.rationale, known.severity
	l.References = append(l.References, known.references...)
	for _, fix := range known.fixes {
		l.Fixes = append(l.Fixes, arfFixText{optional(fix.id), optional(fix.system), t.fullText(fix), optional(fix.reboot)})
	}
	return l
}

// fullText is a fix with the values of this test in it.
func (t *arfTest) fullText(f arfFix) string {
	var b strings.Builder
	for i, piece := range f.pieces {
		if i%2 == 1 {
			piece = t.values[piece]
		}
		b.WriteString(piece)
	}
	return b.String()
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

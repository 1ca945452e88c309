package foreman

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/outgoing"
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
func convertARF(ctx context.Context, o Options, m *relay.Message) (outgoing.Delivery, error) {
	test, err := readARF(ctx, m.Body)
	if err != nil {
		return outgoing.Delivery{}, err
	}
	report, err := test.report()
	if err != nil {
		return outgoing.Delivery{}, err
	}
	report.Digest, report.ProxyName, report.ProxyURL = m.Digest, o.OpenSCAPProxyName, o.OpenSCAPProxyURL
	body, err := json.Marshal(report)
	if err != nil {
		return outgoing.Delivery{}, fmt.Errorf("write the ARF report as JSON: %w", err)
	}
	return outgoing.Delivery{Path: m.Path, ContentType: jsonMedia, Body: body}, nil
}

// maxARFReport bounds the text of what is sent for an ARF, in bytes: each result
// repeats what its rule says, and a report could name one rule without end. The
// report of a whole profile has some 2 MB.
const maxARFReport = 32 << 20

// report leaves out the rules that were not tested.
func (t *arfTest) report() (arfReport, error) {
	size := 0
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
		l := t.log(result[0], result[1])
		if size += l.size(); size > maxARFReport {
			return r, fmt.Errorf("the results of the ARF report repeat more than %d bytes of their rules' text", maxARFReport)
		}
		r.Logs = append(r.Logs, l)
	}
	return r, nil
}

// size is about what the log takes as JSON, in bytes.
func (l arfLog) size() int {
	n := arfElement + len(l.Source) + len(l.Result) + len(l.Title) + len(l.Description) + len(l.Rationale)
	for _, ref := range l.References {
		n += arfElement/4 + len(ref.Href) + len(ref.Title)
	}
	for _, fix := range l.Fixes {
		n += arfElement/2 + len(fix.FullText)
	}
	return n
}

func (t *arfTest) log(rule, result string) arfLog {
	l := arfLog{Source: rule, Result: result, References: []arfReference{}, Fixes: []arfFixText{}}
	known := t.rules[rule]
	if known == nil {
		return l
	}
	l.Title, l.Description, l.Rationale, l.Severity = known.title, known.description, known.rationale, known.severity
	l.References = append(l.References, known.references...)
	written := 0
	for _, fix := range known.fixes {
		text := t.fullText(fix)
		l.Fixes = append(l.Fixes, arfFixText{optional(fix.id), optional(fix.system), text, optional(fix.reboot)})
		if written += len(text); written > maxARFReport {
			break // report refuses it
		}
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
		if b.WriteString(piece); b.Len() > maxARFReport {
			break // report refuses it
		}
	}
	return b.String()
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

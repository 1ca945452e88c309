package foreman

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// hostReportOf is what Foreman gets of a message, with its inner document.
func hostReportOf(t *testing.T, f conversion, body string) (outer map[string]any, inner map[string]any) {
	t.Helper()
	d, err := f(t.Context(), Options{}, &relay.Message{ID: "id", Received: now, Body: []byte(body)})
	require.NoError(t, err)
	require.Equal(t, "/api/v2/host_reports", d.path)
	require.Equal(t, "application/json", d.contentType)
	require.Empty(t, d.contentEncoding)
	var doc map[string]map[string]any
	require.NoError(t, json.Unmarshal(d.body, &doc))
	outer = doc["host_report"]
	require.NoError(t, json.Unmarshal([]byte(outer["body"].(string)), &inner))
	delete(outer, "body")
	return outer, inner
}

// A whole report as Puppet 7 sends it: two changes, one failure.
func TestAPuppetReportBecomesAHostReport(t *testing.T) {
	capture, err := os.ReadFile(filepath.Join("..", "..", "test", "testdata", "captures", "puppet-report.yaml"))
	require.NoError(t, err)
	outer, inner := hostReportOf(t, convertPuppet, string(capture))
	require.Equal(t, map[string]any{"format": "puppet", "version": 1.0, "host": "host1.example.com", "reported_at": "2026-11-24 12:00:00 UTC",
		"change": 2.0, "nochange": 69.0, "failure": 1.0,
		"keywords": []any{"PuppetStatusFailed", "PuppetEnvironment:production", "PuppetOutOfSync", "PuppetFailed:Exec[bad]", "PuppetFailed"}}, outer)
	for key, want := range map[string]any{"format": "puppet", "id": "865b7cab-0e8e-46e3-bbdf-acb276c47b87", "host": "host1.example.com",
		"reported_at": "2026-11-23T16:31:58.897826048+00:00", "reported_at_proxy": "2026-11-24 12:00:00 UTC", "report_format": 12.0,
		"puppet_version": "7.23.0", "environment": "production", "keywords": outer["keywords"]} {
		require.Equal(t, want, inner[key], key)
	}
	logs := inner["logs"].([]any)
	require.Len(t, logs, 7)
	require.Equal(t, []any{"err", "Puppet", "'/bin/false' returned 1 instead of one of [0]"}, logs[2])
	require.Len(t, inner["resource_statuses"], 72)
	require.Equal(t, "File[/etc/motd.d/motd]", inner["resource_statuses"].([]any)[0], "in Puppet's order")
	times := inner["evaluation_times"].([]any)
	require.Len(t, times, 30)
	require.Equal(t, []any{"Exec[ok]", 0.038922868}, times[0])
	require.Equal(t, "Others", times[29].([]any)[0])
	require.Equal(t, map[string]any{"change": 2.0, "nochange": 69.0, "failure": 1.0}, inner["summary"].(map[string]any)["foreman"])
	require.Equal(t, 72.0, inner["summary"].(map[string]any)["native"].(map[string]any)["total"])
}

// What a report lacks is left empty; only a host it must have.
func TestAMeagrePuppetReport(t *testing.T) {
	outer, inner := hostReportOf(t, convertPuppet, "host: a\nnoop: true\nmetrics:\nresource_statuses:\n  File[x]:\n")
	require.Equal(t, []any{"PuppetNoop"}, outer["keywords"])
	require.Equal(t, []any{0.0, 0.0, 0.0}, []any{outer["change"], outer["nochange"], outer["failure"]})
	require.Equal(t, []any{}, inner["logs"])
	require.Equal(t, []any{"File[x]"}, inner["resource_statuses"])
	require.Equal(t, relay.UUID("id"), inner["id"], "the same at each attempt")
}

func TestAnAnsibleReportBecomesAHostReport(t *testing.T) {
	outer, inner := hostReportOf(t, convertAnsible, `{"host":"a.example.com","reported_at":"2026-11-23T10:00:00","check_mode":false,
		"summary":{"ok":1,"changed":1,"failures":1},"results":[
		{"failed":false,"result":{"changed":false,"n":12345678901234567890},"task":{"action":"setup","name":"Gathering Facts"}},
		{"failed":false,"result":{"changed":true,"msg":"done"},"task":{"action":"ansible.builtin.copy","name":""}},
		{"failed":true,"result":{"changed":false,"msg":"no such package"},"task":{"action":"ansible.builtin.apt","name":"install"}},
		{}]}`)
	require.Equal(t, map[string]any{"format": "ansible", "version": 1.0, "host": "a.example.com", "reported_at": "2026-11-24 12:00:00 UTC",
		"change": 1.0, "nochange": 3.0, "failure": 1.0,
		"keywords": []any{"AnsibleChanged", "AnsibleFailure", "AnsibleFailure:ansible.builtin.apt"}}, outer)
	var told []any
	for _, r := range inner["results"].([]any) {
		told = append(told, r.(map[string]any)["level"], r.(map[string]any)["friendly_message"])
	}
	require.Equal(t, []any{"info", "Gathering Facts", "notice", "done", "err", "no such package", "info", "N/A"}, told)
	require.Equal(t, map[string]any{"ok": 1.0, "changed": 1.0, "failures": 1.0}, inner["summary"].(map[string]any)["native"])
	require.Equal(t, relay.UUID("id"), inner["id"])

	_, inner = hostReportOf(t, convertAnsible, `{"host":"a","uuid":"u","status":{"applied":2,"failed":1}}`)
	require.Equal(t, "u", inner["id"])
	require.Equal(t, map[string]any{"changed": 2.0, "failures": 1.0, "skipped": 0.0, "ignored": 0.0, "ok": 0.0, "rescued": 0.0, "unreachable": 0.0},
		inner["summary"].(map[string]any)["native"])
}

// What cannot be converted is dead at once, with the reason, and nothing is sent.
func TestWhatCannotBeConvertedIsRejected(t *testing.T) {
	c := client(t, "http://127.0.0.1:9")
	for _, m := range []struct{ route, body, says string }{
		{"puppet", "a: b: c", "not YAML"}, {"puppet", "- a\n", "no mapping"}, {"puppet", "time: 1\n", "names no host"},
		{"puppet", "host: a\nlogs: " + strings.Repeat("[", 100), "levels deep"},
		{"ansible", "{", "no report of Ansible"}, {"ansible", `{"host":""}`, "names no host"}, {"ansible", `{"host":"a","results":[1]}`, "no report of Ansible"},
		{"arf", "BZh9", "no ARF report"},
	} {
		r := c.Deliver(t.Context(), &relay.Message{ID: "id", Route: m.route, Method: "POST", Path: "/x", Body: []byte(m.body)})
		require.Equal(t, []any{relay.ClassRejected, relay.ReasonRejected}, []any{r.Class, r.Reason}, m.body)
		require.Contains(t, r.Detail, m.says)
	}
}

// A conversion that the attempt has no time for is no verdict on the message.
func TestAConversionThatIsCutOff(t *testing.T) {
	c := client(t, "http://127.0.0.1:9")
	c.converting <- struct{}{} // another one is under way
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	r := c.Deliver(ctx, &relay.Message{ID: "id", Route: "puppet", Body: []byte("host: a\n")})
	require.Equal(t, []any{relay.ClassTransient, relay.ReasonTimeout}, []any{r.Class, r.Reason})
}

func TestASmallAnsibleReportDoesNotBecomeALargeOne(t *testing.T) {
	m := &relay.Message{Body: []byte(`{"host":"h","results":[{}` + strings.Repeat(",{}", maxAnsibleResults) + `]}`)}
	_, err := convertAnsible(t.Context(), Options{}, m)
	require.ErrorContains(t, err, "results, more than")
}

// Every line that may name the host is read as YAML, but not a million of them.
func TestTheHostIsLookedForInAFewLines(t *testing.T) {
	_, found := yamlHost(relay.Request{Body: []byte(strings.Repeat("host:{\n", maxHostLines) + "host: web1\n")})
	require.False(t, found)
	host, found := yamlHost(relay.Request{Body: []byte("host:{\nhost: web1\n")})
	require.True(t, found)
	require.Equal(t, "web1", host)
}

// The edge has looked at one line or member and let the sender speak for that
// host; a reader that finds another must not deliver for it.
func TestAReportOfTwoHosts(t *testing.T) {
	for name, c := range map[string]struct {
		f    conversion
		body string
	}{
		"a quoted key":     {convertPuppet, "host: own.example.com\n\"host\": victim.example.com\n"},
		"in other letters": {convertAnsible, `{"host":"own.example.com","Host":"victim.example.com","results":[]}`},
	} {
		for lane, good := range map[string]bool{"own.example.com": false, "victim.example.com": true, "": true} {
			d, err := c.f(t.Context(), Options{}, &relay.Message{ID: "id", Received: now, Lane: lane, Body: []byte(c.body)})
			require.Equal(t, good, err == nil, "%s %q: %v", name, lane, err)
			require.Equal(t, good, strings.Contains(string(d.body), "victim"), "%s %q", name, lane)
		}
	}
}

package schemas_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/schemas"
)

const (
	wantDocument = `it must be an object with the report under "config_report", as Foreman's API expects it`
	wantReport   = `it must be an object with at least "host" and "reported_at"`
	wantHost     = `it must be the name of the host that the report is about, a string that is not empty`
	wantTime     = `it must be the time of the run as a string, for example "2026-11-23 16:13:06 UTC"`
	wantBody     = `it must be an object with the host's "name" and its "facts", as Foreman's API expects it`
	wantName     = `it must be the name of the host that the facts are about, a string that is not empty`
	wantFacts    = `it must be an object with the facts by name; it may be empty`
)

func TestValidateAcceptsWhatClientsSend(t *testing.T) {
	for file, name := range map[string]string{
		"puppet-config-report-65-resources.json": schemas.ConfigReport,
		"puppet-config-report-noop.json":         schemas.ConfigReport,
		"puppet-facts.json":                      schemas.Facts,
	} {
		t.Run(file, func(t *testing.T) {
			body := capture(t, file)
			assert.Nil(t, schemas.Validate(name, decode(t, body, false)))
			assert.Nil(t, schemas.Validate(name, decode(t, body, true)))
		})
	}
}

func TestValidateDemandsNothingElse(t *testing.T) {
	for name, bodies := range map[string][]string{
		schemas.ConfigReport: {
			`{"config_report":{"host":"a","reported_at":"2026-11-23 16:13:06 UTC"}}`,
			`{"config_report":{"host":" a ","reported_at":"23/11","logs":7,"status":null,"metrics":[]},"more":{}}`,
			`{"config_report":{"host":"żółw","reported_at":"2026-02-31","host2":1e999999999}}`,
		},
		schemas.Facts: {
			`{"name":"a","facts":{}}`,
			`{"name":"a","facts":{"x":null},"certname":7,"_type":"ansible"}`,
		},
	} {
		for _, body := range bodies {
			assert.Nil(t, schemas.Validate(name, decode(t, []byte(body), true)), body)
		}
	}
}

func TestValidateRefusals(t *testing.T) {
	type violations = []schemas.Violation
	tests := []struct {
		schema, body string
		want         violations
	}{
		{"config_report", `[]`, violations{{"", `the document is an array: ` + wantDocument}}},
		{"config_report", `null`, violations{{"", `the document is null: ` + wantDocument}}},
		{"config_report", `"text"`, violations{{"", `the document is a string: ` + wantDocument}}},
		{"config_report", `{}`, violations{{"/config_report", `"config_report" is missing: ` + wantReport}}},
		{"config_report", `{"host":"a","reported_at":"2026-11-23"}`, violations{{"/config_report", `"config_report" is missing: ` + wantReport}}},
		{"config_report", `{"config_report":[1]}`, violations{{"/config_report", `"config_report" is an array: ` + wantReport}}},
		{"config_report", `{"config_report":{}}`, violations{
			{"/config_report/host", `"host" is missing: ` + wantHost},
			{"/config_report/reported_at", `"reported_at" is missing: ` + wantTime},
		}},
		{"config_report", `{"config_report":{"host":"","reported_at":"yesterday"}}`, violations{
			{"/config_report/host", `"host" is empty or only white space: ` + wantHost},
			{"/config_report/reported_at", `"reported_at" is "yesterday", which has no date and time that can be read: ` + wantTime},
		}},
		{"config_report", `{"config_report":{"host":" \t\n","reported_at":17}}`, violations{
			{"/config_report/host", `"host" is empty or only white space: ` + wantHost},
			{"/config_report/reported_at", `"reported_at" is a number: ` + wantTime},
		}},
		{"config_report", `{"config_report":{"reported_at":null,"host":true}}`, violations{
			{"/config_report/host", `"host" is a boolean: ` + wantHost},
			{"/config_report/reported_at", `"reported_at" is null: ` + wantTime},
		}},
		{"facts", `7`, violations{{"", `the document is a number: ` + wantBody}}},
		{"facts", `{}`, violations{
			{"/facts", `"facts" is missing: ` + wantFacts},
			{"/name", `"name" is missing: ` + wantName},
		}},
		{"facts", `{"name":"","facts":"x"}`, violations{
			{"/facts", `"facts" is a string: ` + wantFacts},
			{"/name", `"name" is empty: ` + wantName},
		}},
		{"facts", `{"name":{},"facts":[]}`, violations{
			{"/facts", `"facts" is an array: ` + wantFacts},
			{"/name", `"name" is an object: ` + wantName},
		}},
		{"no such\nschema", `{}`, violations{{"", `there is no schema named "no such\nschema"`}}},
	}
	for _, test := range tests {
		t.Run(test.schema+" "+test.body, func(t *testing.T) {
			for range 20 { // the library visits maps in any order
				assert.Equal(t, test.want, schemas.Validate(test.schema, decode(t, []byte(test.body), true)))
			}
		})
	}
}

func TestValidateBoundsWhatItRepeats(t *testing.T) {
	long := strings.Repeat("é", 5000)
	got := schemas.Validate("config_report", map[string]any{"config_report": map[string]any{"host": "a", "reported_at": long}})
	require.Len(t, got, 1)
	assert.Less(t, len(got[0].Message), 300)
	assert.True(t, json.Valid([]byte(`"`+strings.ReplaceAll(got[0].Message, `"`, `\"`)+`"`)), got[0].Message)
}

func TestValidateSurvivesWhatIsNoJSON(t *testing.T) {
	report := func(host any) any {
		return map[string]any{"config_report": map[string]any{"host": host, "reported_at": "2026-11-23"}}
	}
	for _, value := range []any{math.NaN(), make(chan int), struct{}{}, []byte("x"), map[string]string{}, func() {}, time.Now(), json.Number("nonsense")} {
		assert.Len(t, schemas.Validate("config_report", report(value)), 1, "%T", value)
		assert.Len(t, schemas.Validate("config_report", value), 1, "%T", value)
	}
}

// A number with a huge exponent must not be worked out: that takes minutes.
func TestValidateDoesNotComputeNumbers(t *testing.T) {
	start := time.Now()
	got := schemas.Validate("config_report", decode(t, []byte(`{"config_report":{"host":1e999999999,"reported_at":1e-999999999}}`), true))
	assert.Len(t, got, 2)
	assert.Less(t, time.Since(start), 5*time.Second)
}

func TestValidateFromManyGoroutines(t *testing.T) {
	doc := decode(t, capture(t, "puppet-config-report-noop.json"), true)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			assert.Nil(t, schemas.Validate(schemas.ConfigReport, doc))
			assert.NotNil(t, schemas.Validate(schemas.Facts, doc))
		})
	}
	wg.Wait()
}

func FuzzValidate(f *testing.F) {
	f.Add([]byte(`{"config_report":{"host":"a","reported_at":"2026-11-23 16:13:06 UTC"}}`))
	f.Add([]byte(`{"config_report":{"host":" ","reported_at":1e99}}`))
	f.Add([]byte(`{"name":"","facts":{"~/":[1,null]}}`))
	f.Add([]byte(`[[[[{}]]]]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var doc any
		if json.Unmarshal(body, &doc) != nil {
			return
		}
		for _, name := range schemas.Names() {
			got := schemas.Validate(name, doc)
			assert.Equal(t, got, schemas.Validate(name, doc), "twice the same document, twice the same answer")
			assert.LessOrEqual(t, len(got), 10)
			for _, v := range got {
				assert.True(t, v.Pointer == "" || v.Pointer[0] == '/', v.Pointer)
				assert.NotEmpty(t, v.Message)
			}
		}
	})
}

func BenchmarkValidate(b *testing.B) {
	for file, name := range map[string]string{
		"puppet-config-report-65-resources.json": schemas.ConfigReport, // 15 kB
		"puppet-facts.json":                      schemas.Facts,        // 5 kB
	} {
		b.Run(file, func(b *testing.B) {
			doc := decode(b, capture(b, file), true)
			schemas.Validate(name, doc) // compile first
			b.ReportAllocs()
			for b.Loop() {
				if schemas.Validate(name, doc) != nil {
					b.Fatal("refused")
				}
			}
		})
	}
}

func capture(tb testing.TB, file string) []byte {
	tb.Helper()
	body, err := os.ReadFile(filepath.Join("..", "test", "testdata", "captures", file))
	require.NoError(tb, err)
	return body
}

func decode(tb testing.TB, body []byte, useNumber bool) any {
	tb.Helper()
	decoder := json.NewDecoder(strings.NewReader(string(body)))
	if useNumber {
		decoder.UseNumber()
	}
	var doc any
	require.NoError(tb, decoder.Decode(&doc))
	return doc
}

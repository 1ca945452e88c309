package standin_test

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The rows of the contract, section 3, each on a Foreman that knows nothing.
func TestAnswersOfForeman(t *testing.T) {
	const asJSON = "application/json"
	for name, c := range map[string]struct {
		path, contentType, body string
		status                  int
		says                    string // part of the answer
	}{
		"a report":                          {reports, asJSON, report("a", noon), 201, `"id":1`},
		"a report by the longer path":       {"/api/v2/config_reports", asJSON, report("a", noon), 201, `"id":1`},
		"a parameter of the media type":     {reports, asJSON + "; charset=utf-8", report("a", noon), 201, `"id":1`},
		"facts":                             {facts, asJSON, upload("a", `{"b":1}`), 201, `"name":"a"`},
		"facts by the longer path":          {"/api/v2/hosts/facts", asJSON, upload("a", `{"b":1}`), 201, `"name":"a"`},
		"a report that is a list":           {reports, asJSON, `{"config_report":["a"]}`, 422, "ERF42-"},
		"no report at all":                  {reports, asJSON, `{}`, 422, "Invalid report"},
		"a report without host":             {reports, asJSON, `{"config_report":{"reported_at":"` + noon + `"}}`, 500, "Internal Server Error"},
		"a host that is a number":           {reports, asJSON, `{"config_report":{"host":5,"reported_at":"` + noon + `"}}`, 500, "Internal Server Error"},
		"a report without reported_at":      {reports, asJSON, `{"config_report":{"host":"a"}}`, 500, "Internal Server Error"},
		"a reported_at beyond reading":      {reports, asJSON, report("a", "yesterday"), 500, "Internal Server Error"},
		"a name that is a number":           {facts, asJSON, `{"name":5,"facts":{}}`, 422, "Invalid Hostname, must be a String"},
		"an empty name":                     {facts, asJSON, upload("", `{}`), 422, "Invalid Hostname, must be a String"},
		"no name":                           {facts, asJSON, `{"facts":{}}`, 422, "Invalid Hostname, must be a String"},
		"a report in YAML":                  {reports, "application/x-yaml", report("a", noon), 415, "Media type"},
		"facts without a media type":        {facts, "", upload("a", `{}`), 415, "Media type"},
		"a report that is no JSON":          {reports, asJSON, `{"config_report":`, 400, "There was a problem in the JSON you submitted: "},
		"facts that are no JSON":            {facts, asJSON, `name=a`, 400, "There was a problem in the JSON you submitted: "},
		"a path that Foreman does not have": {"/api/v2/nothing", asJSON, `{}`, 404, "error"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			header := http.Header{}
			if c.contentType != "" {
				header.Set("Content-Type", c.contentType)
			}
			got, err := try(t.Context(), client(t), http.MethodPost, s.URL()+c.path, header, []byte(c.body))
			require.NoError(t, err)
			assert.Equal(t, c.status, got.status, got.body)
			assert.Contains(t, got.body, c.says)
			versioned := c.status != http.StatusBadRequest // JSON is read before the headers are set
			assert.Equal(t, versioned, got.header.Get("Foreman_api_version") == "2")
			assert.Equal(t, versioned, got.header.Get("Foreman_version") != "")
			require.Len(t, s.Requests(), 1)
			assert.Equal(t, c.status, s.Requests()[0].Status)
			assert.Equal(t, c.status == 201, s.Requests()[0].Counted)
		})
	}
}

// Foreman: app/models/report.rb:20, unique by host, type and reported_at.
func TestASecondReportOfOneSecondIsRefused(t *testing.T) {
	s := start(t)
	require.Equal(t, 201, post(t, s, reports, report("web.example.com", noon)).status)
	for _, again := range []string{
		report("web.example.com", noon),
		report("WEB.example.com", noon),
		report("web.example.com", "2026-11-23 12:00:00"),
		report("web.example.com", "2026-11-23T12:00:00"),
		report("web.example.com", "2026-11-23T12:00:00Z"),
		report("web.example.com", "2026-11-23T12:00:00.750Z"),
		report("web.example.com", "2026-11-23T14:00:00+02:00"),
		report("web.example.com", "2026-11-23 14:00:00 +0200"),
		report("web.example.com", "2026-11-23 14:00:00 +02:00"),
		report("web.example.com", "2026-11-23 12:00:00+00:00"),
	} {
		got := post(t, s, reports, again)
		assert.Equal(t, 422, got.status, again)
		assert.JSONEq(t, `{"error":{"id":null,"errors":{"reported_at":["has already been taken"]},`+
			`"full_messages":["Reported at has already been taken"]}}`, got.body)
	}
	assert.Equal(t, 201, post(t, s, reports, report("web.example.com", "2026-11-23 12:00:01 UTC")).status)
	assert.Equal(t, 201, post(t, s, reports, report("db.example.com", noon)).status)
	assert.Equal(t, map[string][]string{
		"web.example.com": {noon, "2026-11-23 12:00:01 UTC"}, "db.example.com": {noon},
	}, s.Reports())
	assert.Len(t, s.Counted(), 3)
}

func TestFactsReplaceTheOnesBefore(t *testing.T) {
	s := start(t)
	for _, values := range []string{`{"v":1}`, `{"v":2}`, `{"v":1}`} {
		assert.Equal(t, 201, post(t, s, facts, upload("Web.Example.com", values)).status)
		assert.JSONEq(t, values, string(s.Facts("web.example.com")))
	}
	assert.Len(t, s.Counted(), 3, "each upload is applied, an equal one too")
	assert.Empty(t, s.Facts("db.example.com"))
}

// Nothing in Foreman undoes a Content-Encoding.
func TestACompressedBodyIsNotDecoded(t *testing.T) {
	s := start(t)
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err := w.Write([]byte(report("a", noon)))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	header := jsonHeader()
	header.Set("Content-Encoding", "gzip")
	got, err := try(t.Context(), client(t), http.MethodPost, s.URL()+reports, header, packed.Bytes())
	require.NoError(t, err)
	assert.Equal(t, 400, got.status)
	assert.Contains(t, got.body, "There was a problem in the JSON you submitted: ")
	assert.Equal(t, packed.Bytes(), s.Requests()[0].Body)
}

func TestThePing(t *testing.T) {
	s := start(t)
	got := get(t, s, ping)
	assert.Equal(t, 200, got.status)
	assert.Equal(t, "2", got.header.Get("Foreman_api_version"))
	type database struct{ Active bool }
	pong := decode[struct {
		Results struct{ Foreman struct{ Database database } }
	}](t, got.body)
	assert.True(t, pong.Results.Foreman.Database.Active)
	assert.Empty(t, s.Requests(), "pings are not among the requests")
}

package standin_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	standin "github.com/theforeman/foreman-relay/test/foreman"
)

// The plugins' rows of the contract, each on a Foreman that knows nothing.
func TestAnswersOfThePlugins(t *testing.T) {
	const (
		arf = "/api/v2/compliance/arf_reports/Web.example.com/7/1795451518"
		hr  = "/api/v2/host_reports"
	)
	for name, c := range map[string]struct {
		mode       standin.Mode
		path, body string
		status     int
		says       string
	}{
		"a host report":                 {"", hr, `{"host_report":{"host":"a","body":"{}"}}`, 201, `"id":1`},
		"a host report of nobody":       {"", hr, `{"host_report":{"body":"{}"}}`, 422, "Host must exist"},
		"a host report without a body":  {"", hr, `{"host_report":{"host":"a","body":{}}}`, 422, "Body can't be blank"},
		"a host that is not known":      {standin.UnknownHost, hr, `{"host_report":{"host":"a","body":"{}"}}`, 422, "Host must exist"},
		"host reports without database": {standin.NoDatabase, hr, `{"host_report":{"host":"a","body":"{}"}}`, 422, "ConnectionBad"},
		"an ARF":                        {"", arf, `{"logs":[],"metrics":{}}`, 200, `{"id":"1","result":"ok"}`},
		"an ARF without results":        {"", arf, `{}`, 500, "Internal Server Error"},
		"a policy that is not known":    {standin.UnknownPolicy, arf, `{"logs":[],"metrics":{}}`, 422, "Policy with id 7 not found."},
		"an ARF of nobody":              {standin.UnknownHost, arf, `{"logs":[],"metrics":{}}`, 422, "Could not find host"},
		"a job of Salt":                 {"", "/salt/api/v2/jobs/upload", `{"job":{"function":"state.highstate","result":{}}}`, 200, `"task_id":"`},
		"another function of Salt":      {"", "/salt/api/v2/jobs/upload", `{"job":{"function":"test.ping","result":{}}}`, 422, "Unsupported function"},
		"no job":                        {"", "/salt/api/v2/jobs/upload", `{}`, 500, "Internal Server Error"},
		"a callback":                    {"", "/foreman_tasks/api/tasks/callback", `{"callback":{"task_id":"t"},"data":{}}`, 200, `{"message":"processing"}`},
		"callbacks":                     {"", "/foreman_tasks/api/tasks/callback", `{"callbacks":[]}`, 200, `{"message":"processing"}`},
		"no callback":                   {"", "/foreman_tasks/api/tasks/callback", `{}`, 500, "Internal Server Error"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, standin.Rule{Mode: c.mode})
			got := post(t, s, c.path, c.body)
			assert.Equal(t, c.status, got.status, got.body)
			assert.Contains(t, got.body, c.says)
			assert.Equal(t, "2", got.header.Get("Foreman_api_version"))
			require.Len(t, s.Requests(), 1)
			assert.Equal(t, c.status < 300, s.Requests()[0].Counted)
		})
	}
}

// Foreman knows two ARF reports of a host by their second alone.
func TestASecondARFOfOneSecondIsRefused(t *testing.T) {
	s := start(t)
	send := func(path string) reply {
		return post(t, s, "/api/v2/compliance/arf_reports/"+path, `{"logs":[],"metrics":{}}`)
	}
	require.Equal(t, 200, send("a/7/100").status)
	got := send("A/8/100")
	require.Equal(t, 422, got.status, "of another policy too")
	require.JSONEq(t, `{"result":"fail","errors":"Reported at has already been taken"}`, got.body)
	require.Equal(t, 200, send("a/7/101").status)
	require.Equal(t, 200, send("b/7/100").status)
	require.Equal(t, "a", s.Requests()[0].Host)
}

// The provisioning is no API: no body, and no headers of it.
func TestUnattended(t *testing.T) {
	for mode, want := range map[standin.Mode]int{"": 201, standin.NotBuilding: 405, standin.Conflict: 409, standin.UnknownHost: 404, standin.Error500: 500} {
		s := start(t, standin.Rule{Mode: mode})
		for _, r := range [][2]string{{http.MethodGet, "/unattended/built?token=t"}, {http.MethodPost, "/unattended/built"}, {http.MethodPost, "/unattended/failed"}} {
			got := call(t, s, r[0], r[1], "")
			assert.Equal(t, want, got.status, r)
			if mode != standin.Error500 {
				assert.Empty(t, got.body)
				assert.Empty(t, got.header.Get("Foreman_version"))
			}
		}
		require.Len(t, s.Requests(), 3, "a GET that changes something is a request too")
		assert.Equal(t, http.MethodGet, s.Requests()[0].Method)
		assert.Equal(t, want == 201, s.Requests()[0].Counted)
	}
}

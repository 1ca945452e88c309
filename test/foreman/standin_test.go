package standin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	standin "github.com/theforeman/foreman-relay/test/foreman"
)

const (
	reports = "/api/config_reports"
	facts   = "/api/hosts/facts"
	ping    = "/api/v2/ping"
	noon    = "2026-11-23 12:00:00 UTC"
)

// patience is far more than anything here takes; a test that needs it has failed.
const patience = 20 * time.Second

// start starts a stand-in on a free port, until the end of the test.
func start(t *testing.T, rules ...standin.Rule) *standin.Server {
	t.Helper()
	s := standin.New()
	s.SetRules(rules...)
	require.NoError(t, s.Start("127.0.0.1:0"))
	t.Cleanup(s.Stop)
	return s
}

// reply is what came back.
type reply struct {
	status int
	header http.Header
	body   string
}

// client uses a new connection for each request, as Puppet's processor does.
func client(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// try sends a request; err is that of the connection.
func try(ctx context.Context, c *http.Client, method, url string, header http.Header, body []byte) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := c.Do(req)
	if err != nil {
		return reply{}, err
	}
	got, err := io.ReadAll(resp.Body)
	if closing := resp.Body.Close(); err == nil {
		err = closing
	}
	return reply{resp.StatusCode, resp.Header, string(got)}, err
}

func jsonHeader() http.Header { return http.Header{"Content-Type": {"application/json"}} }

// call sends a request and must be answered.
func call(t *testing.T, s *standin.Server, method, path, body string) reply {
	t.Helper()
	got, err := try(t.Context(), client(t), method, s.URL()+path, jsonHeader(), []byte(body))
	require.NoError(t, err)
	return got
}

func post(t *testing.T, s *standin.Server, path, body string) reply {
	t.Helper()
	return call(t, s, http.MethodPost, path, body)
}

func get(t *testing.T, s *standin.Server, path string) reply {
	t.Helper()
	return call(t, s, http.MethodGet, path, "")
}

// lose posts JSON and must not be answered.
func lose(t *testing.T, s *standin.Server, path, body string) error {
	t.Helper()
	_, err := try(t.Context(), client(t), http.MethodPost, s.URL()+path, jsonHeader(), []byte(body))
	require.Error(t, err)
	return err
}

func report(host, at string) string {
	return `{"config_report":{"host":"` + host + `","reported_at":"` + at + `","status":{},"metrics":{},"logs":[]}}`
}

func upload(host, values string) string { return `{"name":"` + host + `","facts":` + values + `}` }

func decode[T any](t *testing.T, body string) T {
	t.Helper()
	var v T
	require.NoError(t, json.Unmarshal([]byte(body), &v), body)
	return v
}

package test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
	standin "github.com/theforeman/foreman-relay/test/foreman"
	"github.com/theforeman/foreman-relay/test/harness"
)

// post sends a body as a client does and returns status, headers and answer.
func post(t *testing.T, url string, header map[string]string, body []byte) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	answer, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp, answer
}

// The captured requests of Puppet arrive unchanged, byte for byte, on the path
// and with the headers that the client used.
func TestPuppetsRequestsArriveUnchanged(t *testing.T) {
	inBothForms(t, func(t *testing.T, start func(...string) *form) {
		f := start()
		accept := "*/*, application/json,version=2" // Puppet's processor sends both
		for _, c := range []struct {
			path, file string
			status     int
		}{
			{"/api/config_reports", "puppet-config-report-65-resources.json", http.StatusCreated},
			{"/api/v2/config_reports?a=b%20c", "puppet-config-report-noop.json", http.StatusCreated},
			{"/api/hosts/facts", "puppet-facts.json", http.StatusAccepted},
			{"/api/v2/hosts/facts", "puppet-facts.json", http.StatusAccepted},
		} {
			body, err := os.ReadFile(filepath.Join("testdata", "captures", c.file))
			require.NoError(t, err)
			f.foreman.Forget()
			resp, answer := post(t, f.url+c.path, map[string]string{"Accept": accept}, body)
			require.Equal(t, c.status, resp.StatusCode, string(answer))
			var receipt relay.Receipt
			require.NoError(t, json.Unmarshal(answer, &receipt))
			require.Equal(t, receipt.ID, resp.Header.Get("Relay-Message-Id"))

			got := f.awaitRequests(1, 20*time.Second)[0]
			require.Equal(t, body, got.Body)
			require.Equal(t, c.path, got.Path)
			require.Equal(t, accept, got.Header.Get("Accept"))
			require.Equal(t, "application/json", got.Header.Get("Content-Type"))
			require.Equal(t, receipt.ID, got.Header.Get("Relay-Message-Id"))
			require.Empty(t, got.Header.Get("Content-Encoding"))
			f.awaitState(resp.Header.Get("Location"), relay.Delivered)
		}
		harness.Audit(t, f.socket)
		for _, p := range append(f.drains, f.edge) {
			require.Zero(t, p.Stop(30*time.Second))
		}
	})
}

// awaitRequests waits until so many posts have come to the stand-in.
func (f *form) awaitRequests(n int, within time.Duration) []standin.Request {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), within)
	defer cancel()
	require.True(f.t, f.foreman.Await(ctx, func() bool { return len(f.foreman.Requests()) >= n }),
		"%d of %d requests came within %v", len(f.foreman.Requests()), n, within)
	return f.foreman.Requests()
}

// awaitState asks the edge for a message until it is in a state.
func (f *form) awaitState(location string, want relay.State) {
	f.t.Helper()
	require.Eventually(f.t, func() bool {
		resp, err := http.Get(f.url + location)
		if err != nil {
			return false
		}
		defer func() { _ = resp.Body.Close() }()
		var s struct{ State relay.State }
		return json.NewDecoder(resp.Body).Decode(&s) == nil && s.State == want
	}, 20*time.Second, 20*time.Millisecond, "%s is not %s", location, want)
}

// Rows of the contract's section 3, seen from outside: what each answer of
// Foreman makes of a message.
func TestWhatForemansAnswersMakeOfAMessage(t *testing.T) {
	inBothForms(t, func(t *testing.T, start func(...string) *form) {
		t.Parallel() // it waits for retries most of the time
		whatAnswersMake(t, start())
	})
}

func whatAnswersMake(t *testing.T, f *form) {
	facts := []byte(`{"name":"poison.example.com","facts":{"a":"b"}}`)
	building := []byte(`{"name":"building.example.com","facts":{"a":"b"}}`) // a host of its own: it holds up its lane
	report := func(at string) []byte { return harness.Report("web.example.com", at) }
	for name, c := range map[string]struct {
		rules []standin.Rule
		path  string
		body  []byte
		want  relay.State
		tries int
	}{
		"a host in build mode is tried again": {[]standin.Rule{{Mode: standin.BuildMode}}, "/api/hosts/facts", building, relay.Waiting, 1},
		"a duplicate is delivered":            {nil, "/api/config_reports", report("2026-01-01 00:00:00 +00:00"), relay.Delivered, 1},
		"a rejected one is dead":              {nil, "/relay/v1/queues/default/foreman/messages", []byte(`{}`), relay.Dead, 1},
		"a poisonous one is tried again":      {[]standin.Rule{{Mode: standin.Error500, Times: 1}}, "/api/hosts/facts", facts, relay.Delivered, 2},
		"one whose answer was lost is sent again": {[]standin.Rule{{Mode: standin.DropAfter, Times: 1}}, "/api/config_reports",
			report("2026-01-02 00:00:00 UTC"), relay.Delivered, 2},
		"a maintenance page is no Foreman": {[]standin.Rule{{Mode: standin.Maintenance, Times: 2}}, "/api/config_reports",
			report("2026-01-03 00:00:00 UTC"), relay.Delivered, 2},
		"behind Apache without puma": {[]standin.Rule{{Mode: standin.HTML503, Times: 2}}, "/api/config_reports",
			report("2026-01-04 00:00:00 UTC"), relay.Delivered, 2},
		"without its database": {[]standin.Rule{{Mode: standin.JSON503, NotPing: true, Times: 1}, {Mode: standin.NoDatabase, Path: "/api/v2/ping", Times: 1}},
			"/api/config_reports", report("2026-01-05 00:00:00 UTC"), relay.Delivered, 2},
	} {
		t.Run(name, func(t *testing.T) {
			if c.want == relay.Delivered && c.rules == nil { // known to Foreman before the relay brings it
				direct, _ := post(t, f.foreman.URL()+c.path, nil, report("2026-01-01 00:00:00 UTC"))
				require.Equal(t, http.StatusCreated, direct.StatusCode)
			}
			f.foreman.Forget()
			f.foreman.SetRules(c.rules...)
			defer f.foreman.SetRules()
			resp, answer := post(t, f.url+c.path, nil, c.body)
			require.Less(t, resp.StatusCode, 300, string(answer))
			f.awaitRequests(c.tries, 30*time.Second)
			f.awaitState(resp.Header.Get("Location"), c.want)
			tries := 0
			for _, r := range f.foreman.Requests() { // a message of another case may be tried again meanwhile
				if r.Header.Get("Relay-Message-Id") == resp.Header.Get("Relay-Message-Id") {
					tries++
				}
			}
			require.Equal(t, c.tries, tries)
		})
	}
}

// Foreman does not let the relay in: an operator has to act. Nothing is tried in
// quick succession (Foreman counts failed logins), nothing becomes a dead letter,
// and the operator sees why.
func TestADeniedRelayWaits(t *testing.T) {
	inBothForms(t, func(t *testing.T, start func(...string) *form) {
		f := start()
		f.foreman.SetRules(standin.Rule{Mode: standin.Forbidden})
		f.fill(3, 5)
		f.awaitRequests(1, 10*time.Second)
		s := harness.AwaitQueue(t, f.socket, 10*time.Second, func(s relay.QueueStatus) bool { return s.Breaker == "open" })
		require.Equal(t, []uint64{15, 15, 0}, []uint64{s.Accepted, s.Pending, s.Dead})
		require.Len(t, f.foreman.Requests(), 1, "one attempt, not fifteen")
		out, errs, code := harness.Command(t, "message", "show", f.foreman.Requests()[0].Header.Get("Relay-Message-Id"), "--admin-socket", f.socket)
		require.Zero(t, code, errs)
		require.Contains(t, out, "unauthorized")
		require.Contains(t, out, "Access denied")
	})
}

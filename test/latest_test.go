package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/test/harness"
)

// Foreman is away while hosts send their facts again and again, and reports
// between them; every process is killed in the middle. When it is back it gets
// the last facts of each host and no others, and every report in its order.
func TestTheLatestFactsAfterAnOutage(t *testing.T) {
	t.Parallel() // most of its time it waits
	inBothForms(t, func(t *testing.T, start func(...string) *form) {
		const hosts, each = 20, 12
		f := start()
		f.foreman.Stop()
		for i := range each {
			if i == each/2 {
				for _, p := range append(f.drains, f.edge) {
					p.Kill()
					p.Again()
				}
				f.awaitReady()
			}
			for h := range hosts {
				host := fmt.Sprintf("host%d.example.com", h)
				f.accepted("/api/hosts/facts", fmt.Appendf(nil, `{"name":%q,"facts":{"run":"%02d"}}`, host, i))
				f.accepted("/api/config_reports", harness.Report(host, fmt.Sprintf("2026-01-01 00:00:%02d UTC", i)))
			}
		}
		s := harness.AwaitQueue(t, f.socket, 20*time.Second, func(s relay.QueueStatus) bool { return s.Breaker == "open" && s.Superseded > 0 })
		require.Zero(t, s.Delivered)

		require.NoError(t, f.foreman.Start(""))
		s = harness.AwaitQueue(t, f.socket, 60*time.Second, harness.Drained)
		require.Equal(t, []uint64{2 * hosts * each, hosts * (each + 1), hosts * (each - 1)}, []uint64{s.Accepted, s.Delivered, s.Superseded})
		for _, r := range f.foreman.Requests() {
			if r.Path == "/api/hosts/facts" {
				require.Contains(t, string(r.Body), fmt.Sprintf(`"run":"%02d"`, each-1))
			}
		}
		for host, got := range f.foreman.Reports() {
			require.Len(t, got, each, host)
			require.IsIncreasing(t, got, "order of %s", host)
		}
		f.explains(hosts * (each - 1))
		harness.Audit(t, f.socket)
	})
}

// accepted posts a body that must be taken.
func (f *form) accepted(path string, body []byte) {
	f.t.Helper()
	resp, err := http.Post(f.url+path, "application/json", bytes.NewReader(body))
	require.NoError(f.t, err)
	require.NoError(f.t, resp.Body.Close())
	require.Less(f.t, resp.StatusCode, 300)
}

// explains looks at the superseded messages as an operator does.
func (f *form) explains(superseded int) {
	f.t.Helper()
	out, errs, code := harness.Command(f.t, "message", "ls", "--state", "superseded", "--limit", "1000", "-o", "json", "--admin-socket", f.socket)
	require.Zero(f.t, code, errs)
	var rows []relay.MessageSummary
	require.NoError(f.t, json.Unmarshal([]byte(out), &rows), out)
	require.Len(f.t, rows, superseded)
	out, errs, code = harness.Command(f.t, "message", "show", rows[0].ID, "-o", "json", "--admin-socket", f.socket)
	require.Zero(f.t, code, errs)
	var m relay.MessageStatus
	require.NoError(f.t, json.Unmarshal([]byte(out), &m), out)
	require.Equal(f.t, relay.ReasonNewer, m.Reason)
	out, errs, code = harness.Command(f.t, "message", "show", m.ReplacedBy, "-o", "json", "--admin-socket", f.socket)
	require.Zero(f.t, code, errs)
	var newest relay.MessageStatus
	require.NoError(f.t, json.Unmarshal([]byte(out), &newest), out)
	require.Equal(f.t, []any{relay.Delivered, m.Lane, m.Route}, []any{newest.State, newest.Lane, newest.Route})
	require.Greater(f.t, newest.Sequence, m.Sequence)
}

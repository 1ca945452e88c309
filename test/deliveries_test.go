package test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
	standin "github.com/theforeman/foreman-relay/test/foreman"
	"github.com/theforeman/foreman-relay/test/harness"
)

const saltPath = "/salt/api/v2/jobs/upload"

// saltJob is something that Foreman stores as often as it comes.
func saltJob(minion string) []byte {
	return []byte(`{"job":{"job_id":"20261124120000000001","function":"state.highstate","result":{"` + minion + `":{"a":{"result":true}}}}}`)
}

// A far drain is killed between Foreman's answer and the event: its way to the
// edge is cut while Foreman answers, and it is killed once it has tried to record
// what it was answered. Started again it does not send the job a second time,
// because its own record has it. Without the record it does.
func TestKilledBetweenAnswerAndEvent(t *testing.T) {
	for name, c := range map[string]struct {
		window string
		sent   int
		reason string
	}{"with the record": {"168h", 1, relay.ReasonDeliveredBefore}, "without it": {"0s", 2, ""}} {
		t.Run(name, func(t *testing.T) {
			f := newForm(t, filepath.Join(t.TempDir(), "state"))
			f.startFarEdge()
			config := filepath.Join(t.TempDir(), "drain.yaml")
			require.NoError(t, os.WriteFile(config, []byte("limits: {delivery_window: "+c.window+"}\n"), 0o600))
			link := harness.NewLink(t, f.broker)
			f.broker = link.Address()
			victim := f.startDrain("--config", config)
			harness.AwaitQueue(t, f.socket, 20*time.Second, func(s relay.QueueStatus) bool { return s.Drain != "" })

			f.foreman.OnCounted(func(*standin.Request) { link.Cut() })
			resp, _ := post(t, f.url+saltPath, map[string]string{"Idempotency-Key": "order-66"}, saltJob("web"))
			require.Equal(t, http.StatusOK, resp.StatusCode)
			require.Eventually(t, func() bool { return strings.Contains(victim.Log(), "recording what became of a message failed") },
				20*time.Second, 5*time.Millisecond, "the drain has the answer, and cannot say so")
			victim.Kill()
			f.foreman.OnCounted(nil)
			link.Mend()
			victim.Again()

			f.awaitState(resp.Header.Get("Location"), relay.Delivered)
			requests := f.foreman.Requests()
			require.Len(t, requests, c.sent)
			for _, r := range requests {
				require.Equal(t, "order-66", r.Header.Get("Idempotency-Key"), "the same at every attempt")
			}
			m := f.message(resp.Header.Get("Relay-Message-Id"))
			require.Equal(t, []any{c.reason, 1, 1}, []any{m.Reason, m.Attempts, len(m.Events)})
			harness.Audit(t, f.socket)
		})
	}
}

// Whoever delivers is killed while Foreman answers: nobody can know whether it
// will be counted. A report is sent again; a job of Salt is not, since the record
// says that an attempt was under way.
func TestKilledInTheMiddleOfAnAttempt(t *testing.T) {
	inBothForms(t, func(t *testing.T, start func(...string) *form) {
		f := start()
		victim := f.edge
		if len(f.drains) > 0 {
			victim = f.drains[0]
		}
		harness.AwaitQueue(t, f.socket, 20*time.Second, func(s relay.QueueStatus) bool { return s.Drain != "" })
		report, err := os.ReadFile(filepath.Join("testdata", "captures", "puppet-config-report-noop.json"))
		require.NoError(t, err)
		for _, c := range []struct {
			path   string
			body   []byte
			state  relay.State
			reason string
			sent   int
		}{{"/api/config_reports", report, relay.Delivered, relay.ReasonAlreadyThere, 2}, {saltPath, saltJob("web"), relay.Dead, relay.ReasonAmbiguous, 1}} {
			f.foreman.Forget()
			accepted, counted := make(chan struct{}), make(chan struct{})
			f.foreman.OnCounted(func(*standin.Request) {
				<-accepted // in one process the sender would not be answered
				victim.KillNow()
				close(counted)
			})
			resp, _ := post(t, f.url+c.path, nil, c.body)
			close(accepted)
			<-counted
			f.foreman.OnCounted(nil)
			victim.Again()
			f.awaitReady()
			f.awaitState(resp.Header.Get("Location"), c.state)
			m := f.message(resp.Header.Get("Relay-Message-Id"))
			require.Equal(t, []any{c.reason, 1}, []any{m.Reason, m.Attempts})
			require.Len(t, f.foreman.Requests(), c.sent, c.path)
			require.Len(t, f.foreman.Counted(), 1, c.path)
		}
		harness.Audit(t, f.socket)
	})
}

// message is `message show -o json`.
func (f *form) message(id string) (m relay.MessageStatus) {
	f.t.Helper()
	out, errs, code := harness.Command(f.t, "message", "show", id, "-o", "json", "--admin-socket", f.socket)
	require.Zero(f.t, code, errs)
	require.NoError(f.t, json.Unmarshal([]byte(out), &m), out)
	return m
}

// Foreman takes a request and its answer is lost. A report is sent again, because
// Foreman keeps it once; a job of Salt is not, because Foreman would store it
// twice: it becomes a dead letter that says so. Both are told apart from attempts
// that Foreman has answered. A replay is sent, with a key of its own.
func TestAnAnswerThatIsLost(t *testing.T) {
	inBothForms(t, func(t *testing.T, start func(...string) *form) {
		f := start()
		report, err := os.ReadFile(filepath.Join("testdata", "captures", "puppet-config-report-noop.json"))
		require.NoError(t, err)
		f.foreman.SetRules(standin.Rule{Mode: standin.DropAfter, Path: "/api/config_reports", Times: 1}, standin.Rule{Mode: standin.DropAfter, Path: saltPath, Times: 1})

		resp, _ := post(t, f.url+"/api/config_reports", nil, report)
		f.awaitState(resp.Header.Get("Location"), relay.Delivered)
		m := f.message(resp.Header.Get("Relay-Message-Id"))
		require.Equal(t, []any{relay.ReasonAlreadyThere, 1}, []any{m.Reason, m.Ambiguous})
		out, errs, code := harness.Command(t, "message", "show", m.ID, "--admin-socket", f.socket)
		require.Zero(t, code, errs)
		require.Contains(t, out, "unavailable (ambiguous)")
		require.Len(t, f.foreman.Requests(), 2)
		require.Len(t, f.foreman.Counted(), 1)

		f.foreman.Forget()
		resp, _ = post(t, f.url+saltPath, map[string]string{"Idempotency-Key": "order-66"}, saltJob("web"))
		f.awaitState(resp.Header.Get("Location"), relay.Dead)
		id := resp.Header.Get("Relay-Message-Id")
		m = f.message(id)
		require.Equal(t, []any{relay.ReasonAmbiguous, 1, 1}, []any{m.Reason, m.Attempts, m.Ambiguous})
		out, errs, code = harness.Command(t, "message", "show", id, "--admin-socket", f.socket)
		require.Zero(t, code, errs)
		require.Contains(t, out, "1 ambiguous")
		require.Len(t, f.foreman.Requests(), 1)

		out, errs, code = harness.Command(t, "dlq", "replay", id, "--admin-socket", f.socket)
		require.Zero(t, code, out+errs)
		requests := f.awaitRequests(2, 20*time.Second)
		require.Equal(t, "order-66", requests[0].Header.Get("Idempotency-Key"))
		require.Equal(t, requests[1].Header.Get("Relay-Message-Id"), requests[1].Header.Get("Idempotency-Key"))
		harness.AwaitQueue(t, f.socket, 20*time.Second, harness.Drained)
		harness.Audit(t, f.socket)
	})
}

// A repeated request gets the first receipt, the route's own status, and the
// state in which the message is by then.
func TestARepeatedRequestIsToldTheState(t *testing.T) {
	inBothForms(t, func(t *testing.T, start func(...string) *form) {
		f := start()
		report, err := os.ReadFile(filepath.Join("testdata", "captures", "puppet-config-report-noop.json"))
		require.NoError(t, err)
		first, text := post(t, f.url+"/api/config_reports", nil, report)
		require.Contains(t, string(text), `"state":"accepted"`)
		harness.AwaitQueue(t, f.socket, 20*time.Second, func(s relay.QueueStatus) bool { return s.Delivered == 1 })
		again, text := post(t, f.url+"/api/config_reports", nil, report)
		require.Equal(t, []any{http.StatusCreated, "true", first.Header.Get("Relay-Message-Id")},
			[]any{again.StatusCode, again.Header.Get("Idempotent-Replayed"), again.Header.Get("Relay-Message-Id")})
		require.Contains(t, string(text), `"state":"delivered"`)
		require.Len(t, f.foreman.Requests(), 1)
	})
}

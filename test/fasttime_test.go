package test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/foreman"
	"github.com/theforeman/foreman-relay/relay/outgoing"
	standin "github.com/theforeman/foreman-relay/test/foreman"
	"github.com/theforeman/foreman-relay/test/harness"
)

// fast is how much faster the drain's clock runs: two hours are twenty seconds.
const fast = 360

// fastRelay is edge, broker and drain as `serve` wires them, but for the clock by
// which the drain judges ages and delays.
type fastRelay struct {
	t        *testing.T
	foreman  *standin.Server
	broker   *broker.Broker
	edge     http.Handler
	mu       sync.Mutex
	outcomes map[string]int // by class and state, as the observer is told
}

var fastQueue = relay.Queue{Organization: relay.DefaultOrganization, Destination: relay.ForemanDestination}

func startFast(t *testing.T) *fastRelay {
	f := &fastRelay{t: t, foreman: standin.New(), outcomes: map[string]int{}}
	require.NoError(t, f.foreman.Start("127.0.0.1:0"))
	t.Cleanup(f.foreman.Stop)
	routes, policies, latest := foreman.Routes(relay.DefaultPolicy()), map[string]relay.Policy{}, []string{}
	for _, r := range routes {
		if policies[r.Name] = r.Policy; r.Policy.Latest {
			latest = append(latest, r.Name)
		}
	}
	var err error
	f.broker, err = broker.Open(t.Context(), broker.Options{StateDir: filepath.Join(t.TempDir(), "state"), Durability: broker.ModeOS,
		Queues: []relay.Queue{fastQueue}, ReserveBytes: -1, Latest: latest, Log: zerolog.Nop()})
	require.NoError(t, err)
	t.Cleanup(f.broker.Close)
	quiet := zerolog.Disabled
	f.edge = handlers.NewEdge(handlers.EdgeOptions{Intake: f.broker, Known: f.broker.Known, Organization: fastQueue.Organization, Routes: routes,
		MaxBody: broker.DefaultMaxBody, Now: time.Now, Metrics: handlers.NewMetrics(prometheus.NewRegistry(), routes), Log: zerolog.Nop(), AccessLevel: &quiet})
	f.drain(func(route string) relay.Policy { return policies[route] })
	return f
}

func (f *fastRelay) drain(policy func(string) relay.Policy) {
	client, err := foreman.New(foreman.Options{Options: outgoing.Options{URL: f.foreman.URL(), AttemptTimeout: 5 * time.Second, Connections: 8, UserAgent: "test"}})
	require.NoError(f.t, err)
	channel, err := f.broker.Connect(fastQueue.Destination)
	require.NoError(f.t, err)
	begun := time.Now()
	d := relay.NewDrain(relay.DrainOptions{Instance: "here", Session: "1", LongestAttempt: 5 * time.Second, StopTimeout: 10 * time.Second,
		Registrar: channel, Nudged: channel.Nudged(), Journal: channel.Journal, Destination: client,
		Gate: relay.NewGate(relay.DefaultGateOptions(), client.Probe), Policy: policy, Limits: relay.DefaultIndexLimits(),
		Now: func() time.Time { return begun.Add(fast * time.Since(begun)) }, Log: zerolog.Nop(), Observe: f.observe})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = d.Run(ctx) // it has no error to return
	}()
	f.t.Cleanup(func() {
		cancel()
		<-done
		channel.Close()
		client.Close()
	})
}

func (f *fastRelay) observe(a relay.AttemptReport) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.outcomes[fmt.Sprint(a.Result.Class, " ", a.Outcome.State, " counted ", a.Outcome.Counted)]++
}

func (f *fastRelay) post(path, body string, status int) {
	r := httptest.NewRequestWithContext(f.t.Context(), http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	f.edge.ServeHTTP(w, r)
	if w.Code != status {
		f.t.Errorf("%s is answered with %d %s", path, w.Code, w.Body)
	}
}

// await waits until the queue is as cond says.
func (f *fastRelay) await(within time.Duration, cond func(relay.QueueStatus) bool) relay.QueueStatus {
	f.t.Helper()
	var s relay.QueueStatus
	require.Eventually(f.t, func() bool {
		var err error
		s, err = f.broker.Queue(f.t.Context(), fastQueue)
		return err == nil && cond(s)
	}, within, 20*time.Millisecond, "last seen: %+v", &s)
	return s
}

// send is what 1 000 hosts send in one round, each its facts and then its report.
func (f *fastRelay) send(hosts, round int) {
	todo := make(chan int)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for h := range todo {
				host := fmt.Sprintf("host%d.example.com", h)
				f.post("/api/hosts/facts", fmt.Sprintf(`{"name":%q,"facts":{"round":"%d"}}`, host, round), http.StatusAccepted)
				at := time.Unix(int64(1.7e9+round*1800), 0).UTC().Format("2006-01-02 15:04:05 UTC")
				f.post("/api/config_reports", string(harness.Report(host, at)), http.StatusCreated)
			}
		})
	}
	for h := range hosts {
		todo <- h
	}
	close(todo)
	wg.Wait()
}

// Foreman is away for two hours, in fast time, while 1 000 hosts go on sending
// their facts and reports each half hour. No attempt is burnt on it; of the facts
// only the newest of each host are delivered, all reports are, in their order; and
// the relay comes back slowly.
func TestTwoHoursOfOutageInFastTime(t *testing.T) {
	t.Parallel() // most of its time it waits
	const hosts, rounds = 1000, 4
	f := startFast(t)
	f.foreman.Stop()
	gone := time.Now()
	for round := range rounds {
		f.send(hosts, round)
		time.Sleep(time.Until(gone.Add(time.Duration(round+1) * 30 * time.Minute / fast)))
	}
	s := f.await(10*time.Second, func(s relay.QueueStatus) bool { return s.Breaker == "open" })
	require.EqualValues(t, 2*hosts*rounds, s.Accepted)
	require.Equal(t, []uint64{0, 0, 0}, []uint64{s.Waiting, s.Delivered, s.Dead}, "nobody was tried in vain: %+v", s)
	require.GreaterOrEqual(t, fast*time.Since(gone), 2*time.Hour)

	f.foreman.SetRules(standin.Rule{Mode: standin.Slow, Latency: 5 * time.Millisecond})
	require.NoError(t, f.foreman.Start(""))
	s = f.await(2*time.Minute, harness.Drained)
	require.Equal(t, []uint64{hosts * (rounds + 1), hosts * (rounds - 1), 0}, []uint64{s.Delivered, s.Superseded, s.Dead})
	f.judgeRequests(hosts, rounds)
	f.judgeOutcomes(hosts * (rounds + 1))
	f.judgeRamp()
	reports, err := f.broker.Audit(t.Context(), relay.AuditOptions{})
	require.NoError(t, err)
	require.True(t, reports[0].Balanced, "%+v", reports[0].Findings)
}

// judgeRequests: each message once, of the facts the newest.
func (f *fastRelay) judgeRequests(hosts, rounds int) {
	facts := map[string]int{}
	for _, r := range f.foreman.Requests() {
		if strings.HasSuffix(r.Path, "/facts") {
			facts[r.Host]++
			require.Contains(f.t, string(r.Body), fmt.Sprintf(`"round":"%d"`, rounds-1), "old facts of %s", r.Host)
		}
	}
	require.Len(f.t, facts, hosts)
	for host, n := range facts {
		require.Equal(f.t, 1, n, "facts of %s", host)
	}
	all := f.foreman.Reports()
	require.Len(f.t, all, hosts)
	for host, got := range all {
		require.Len(f.t, got, rounds, host)
		require.IsIncreasing(f.t, got, "order of %s", host)
	}
	require.Len(f.t, f.foreman.Requests(), hosts*(rounds+1))
}

// judgeOutcomes: what was counted was delivered.
func (f *fastRelay) judgeOutcomes(delivered int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for what, n := range f.outcomes {
		f.t.Log(what, n)
		if strings.HasSuffix(what, "counted true") {
			require.Equal(f.t, "delivered delivered counted true", what)
			require.Equal(f.t, delivered, n)
		}
	}
}

// judgeRamp: the recorded rates rise, by the requests under way at one time and by
// their number in the first quarters of a second.
func (f *fastRelay) judgeRamp() {
	requests := f.foreman.Requests()
	require.Equal(f.t, []int{1, 1}, []int{requests[0].Active, requests[1].Active}, "one tries the way")
	most, rates := 0, make([]int, 16)
	var steps bytes.Buffer
	for i, r := range requests {
		if r.Active > most {
			require.LessOrEqual(f.t, r.Active, most+2, "a step at request %d", i)
			most = r.Active
			fmt.Fprintf(&steps, " %d@%d", most, i)
		}
		if quarter := int(r.At.Sub(requests[0].At) / (250 * time.Millisecond)); quarter < len(rates) {
			rates[quarter]++
		}
	}
	f.t.Log("requests under way, from which request on:", steps.String(), "requests in each quarter of a second:", rates)
	require.Greater(f.t, most, 2)
	require.LessOrEqual(f.t, most, relay.DefaultGateOptions().Concurrency)
}

package test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/test/harness"
)

const (
	slowAnswer  = time.Second / 2       // what A gets
	quickAnswer = 5 * time.Millisecond  // what B gets
	betweenTwo  = 15 * time.Millisecond // of B's messages
	// schedulingSlack is what two processes on two cores that others use too may
	// be late by, without it meaning anything. Waiting for one of A's attempts
	// would be another order of magnitude.
	schedulingSlack = 100 * time.Millisecond
)

// Organization A has 20 000 messages waiting (NEIGHBOUR_WAITING: another number)
// and is answered slowly. What B sends meanwhile arrives about as fast as when B
// is alone: the 99th percentile, from acceptance to arrival, is at most three
// times the other, which is measured before and after.
func TestANoisyNeighbour(t *testing.T) {
	const rounds, places = 150, 7 // of eight places one is kept for others than A
	n, waiting := startNeighbours(t), neighbourWaiting(t)
	n.pause("A")
	n.fill("A", waiting)
	alone := n.send("B", rounds)

	n.resume("A")
	n.shared.awaitUnderway(t, "A", places) // the limit has risen
	n.shared.slowDown("A", slowAnswer)
	n.shared.awaitUnderway(t, "A", places)
	n.shared.awaitMore(t, "A", places*max(1, waiting/10_000)) // the drain has read ahead by then: that costs all the same
	beside := n.send("B", 2*rounds)

	n.pause("A")
	n.shared.awaitQuiet(t, "A")
	alone = append(alone, n.send("B", rounds)...)
	a := n.status("A")
	require.Greater(t, a.Pending, a.Accepted/4, "A has much waiting to the end")
	t.Logf("99 of 100 of B's messages arrive within %v alone, %v beside A with %d waiting", p99(alone), p99(beside), a.Pending)
	require.LessOrEqual(t, p99(beside), 3*p99(alone)+schedulingSlack)
}

func neighbourWaiting(t *testing.T) int {
	text, given := os.LookupEnv("NEIGHBOUR_WAITING")
	if !given {
		return 20_000
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, "NEIGHBOUR_WAITING")
	return n
}

func p99(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)*99/100]
}

// neighbours are two organizations with queues of their own for one destination.
type neighbours struct {
	t           *testing.T
	url, socket string
	client      *http.Client
	shared      *sharedDestination
}

func startNeighbours(t *testing.T) *neighbours {
	t.Helper()
	d := newSharedDestination(t)
	state, address := filepath.Join(t.TempDir(), "state"), harness.FreeAddress(t)
	config := filepath.Join(t.TempDir(), "relay.yaml")
	require.NoError(t, os.WriteFile(config, []byte("organizations: [A, B]\n"), 0o600))
	transport := &http.Transport{MaxIdleConnsPerHost: 32}
	t.Cleanup(transport.CloseIdleConnections)
	n := &neighbours{t: t, url: "http://" + address, socket: filepath.Join(state, "admin.sock"), shared: d,
		client: &http.Client{Transport: transport, Timeout: 30 * time.Second}}
	f := &form{t: t, url: n.url}
	f.edge = harness.Start(t, "serve", "--config", config, "--state-dir", state, "--listen", address, "--durability", "os",
		"--log-level", "warn", "--foreman-url", d.URL)
	f.awaitReady()
	return n
}

func (n *neighbours) pause(organization string)  { n.queue("pause", organization) }
func (n *neighbours) resume(organization string) { n.queue("resume", organization) }

func (n *neighbours) queue(verb, organization string) {
	n.t.Helper()
	_, errs, code := harness.Command(n.t, "queue", verb, organization+"/foreman", "--admin-socket", n.socket)
	require.Zero(n.t, code, errs)
}

func (n *neighbours) status(organization string) relay.QueueStatus {
	n.t.Helper()
	all := harness.Queues(n.t, n.socket)
	i := slices.IndexFunc(all, func(s relay.QueueStatus) bool { return s.Organization == organization })
	require.GreaterOrEqual(n.t, i, 0)
	return all[i]
}

// fill stores so many messages of a thousand hosts.
func (n *neighbours) fill(organization string, count int) {
	n.t.Helper()
	began := time.Now()
	var wg sync.WaitGroup
	for part := range 32 {
		wg.Go(func() {
			for i := part; i < count; i += 32 {
				if _, err := n.post(organization, fmt.Sprint("host", i%1000)); err != nil {
					n.t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	require.EqualValues(n.t, count, n.status(organization).Pending)
	n.t.Logf("%d messages stored in %v", count, time.Since(began).Round(time.Millisecond))
}

// send has an organization send at an even pace, and returns how long each
// message took from acceptance to arrival.
func (n *neighbours) send(organization string, count int) []time.Duration {
	n.t.Helper()
	accepted := map[string]time.Time{}
	tick := time.NewTicker(betweenTwo)
	defer tick.Stop()
	for i := range count {
		receipt, err := n.post(organization, fmt.Sprint("host", i))
		require.NoError(n.t, err)
		accepted[receipt.ID] = receipt.AcceptedAt
		<-tick.C
	}
	var all []time.Duration
	for id, at := range accepted {
		all = append(all, max(0, n.shared.awaitArrival(n.t, id).Sub(at)))
	}
	return all
}

func (n *neighbours) post(organization, lane string) (relay.Receipt, error) {
	var receipt relay.Receipt
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost,
		n.url+"/relay/v1/queues/"+organization+"/foreman/messages",
		strings.NewReader(organization))
	if err != nil {
		return receipt, err
	}
	req.Header.Set("Content-Type", "text/plain")
	req.Header.Set("Relay-Ordering-Key", lane)
	resp, err := n.client.Do(req)
	if err != nil {
		return receipt, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusAccepted {
		return receipt, fmt.Errorf("status %d", resp.StatusCode)
	}
	return receipt, json.NewDecoder(resp.Body).Decode(&receipt)
}

// sharedDestination is a Foreman that takes everything, and is slow to whom it
// is told to.
type sharedDestination struct {
	*httptest.Server

	mu       sync.Mutex
	slow     map[string]time.Duration
	underway map[string]int // by organization
	came     map[string]int // by organization
	arrived  map[string]time.Time
	changed  chan struct{}
}

func newSharedDestination(t *testing.T) *sharedDestination {
	d := &sharedDestination{slow: map[string]time.Duration{}, underway: map[string]int{}, came: map[string]int{},
		arrived: map[string]time.Time{}, changed: make(chan struct{})}
	d.Server = httptest.NewServer(d)
	t.Cleanup(d.Close)
	return d
}

// ServeHTTP implements http.Handler.
func (d *sharedDestination) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Foreman_version", "3.13.0")
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodGet {
		_, _ = w.Write([]byte(`{"results":{"foreman":{"database":{"active":true}}}}`)) // the ping
		return
	}
	body, _ := io.ReadAll(r.Body) // an empty one is nobody's
	organization := string(body)
	takes := d.begin(organization, r.Header.Get("Relay-Message-Id"))
	defer d.end(organization)
	select {
	case <-time.After(takes):
	case <-r.Context().Done():
	}
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write([]byte(`{}`))
}

func (d *sharedDestination) begin(organization, id string) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.arrived[id] = time.Now()
	d.underway[organization]++
	d.came[organization]++
	d.tell()
	if takes, ok := d.slow[organization]; ok {
		return takes
	}
	return quickAnswer
}

func (d *sharedDestination) end(organization string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.underway[organization]--
	d.tell()
}

func (d *sharedDestination) tell() {
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *sharedDestination) slowDown(organization string, takes time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.slow[organization] = takes
}

// awaitUnderway waits until at least so many of an organization's are being
// answered.
func (d *sharedDestination) awaitUnderway(t *testing.T, organization string, n int) {
	t.Helper()
	d.await(t, func() bool { return d.underway[organization] >= n }, "%d of %s's under way", n, organization)
}

// awaitMore waits until so many more of an organization's have come.
func (d *sharedDestination) awaitMore(t *testing.T, organization string, n int) {
	t.Helper()
	d.mu.Lock()
	n += d.came[organization]
	d.mu.Unlock()
	d.await(t, func() bool { return d.came[organization] >= n }, "%d of %s's have come", n, organization)
}

func (d *sharedDestination) awaitQuiet(t *testing.T, organization string) {
	t.Helper()
	d.await(t, func() bool { return d.underway[organization] == 0 }, "none of %s's under way", organization)
}

func (d *sharedDestination) awaitArrival(t *testing.T, id string) (at time.Time) {
	t.Helper()
	d.await(t, func() bool {
		var ok bool
		at, ok = d.arrived[id]
		return ok
	}, "%s arrives", id)
	return at
}

func (d *sharedDestination) await(t *testing.T, cond func() bool, what string, args ...any) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		d.mu.Lock()
		changed, ok := d.changed, cond()
		d.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			require.Failf(t, "not within a minute", what, args...)
		}
	}
}

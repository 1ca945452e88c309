package test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/test/harness"
)

// Foreman is away while 10 000 reports come in. No attempt is burnt on it;
// when it is back the backlog moves within 10 s, each report is sent once and in
// the order of its host, and the relay does not fall upon it with everything.
func TestAnOutageWithTenThousandWaiting(t *testing.T) {
	inBothForms(t, func(t *testing.T, start func(...string) *form) {
		const hosts, each = 200, 50
		f := start()
		f.foreman.Stop()
		f.fill(hosts, each)
		s := harness.AwaitQueue(t, f.socket, 20*time.Second, func(s relay.QueueStatus) bool { return s.Breaker == "open" })
		require.EqualValues(t, hosts*each, s.Pending)
		require.Zero(t, s.Waiting, "nobody was tried in vain")

		back := time.Now()
		require.NoError(t, f.foreman.Start(""))
		f.awaitRequests(1, 10*time.Second)
		t.Logf("the backlog moves %v after Foreman's return", time.Since(back).Round(time.Millisecond))
		harness.AwaitQueue(t, f.socket, 2*time.Minute, harness.Drained)
		t.Logf("%d reports in %v", hosts*each, time.Since(back).Round(time.Millisecond))

		requests := f.foreman.Requests()
		require.Len(t, requests, hosts*each, "each is sent once: no attempt was burnt")
		for host, got := range f.foreman.Reports() {
			require.Len(t, got, each, host)
			require.IsIncreasing(t, got, "order of %s", host)
		}
		most := 0
		var risen []int
		for i, r := range requests {
			if r.Active > most {
				most = r.Active
				risen = append(risen, i)
			}
		}
		t.Log("requests sent before the number of concurrent ones rose to 1, 2, 3 …:", risen)
		require.Equal(t, 1, requests[0].Active, "one tries the way")
		require.Equal(t, 1, requests[1].Active)
		require.Greater(t, most, 1, "the rate rises")
		require.LessOrEqual(t, most, relay.DefaultGateOptions().Concurrency)
		out, errs, code := harness.Command(t, "message", "show", requests[len(requests)-1].Header.Get("Relay-Message-Id"), "-o", "json", "--admin-socket", f.socket)
		require.Zero(t, code, errs)
		require.Contains(t, out, `"attempts": 1`)
		harness.Audit(t, f.socket)
	})
}

// fill posts reports of many hosts, each host's in order.
func (f *form) fill(hosts, each int) {
	f.t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 32}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	queue := make(chan int)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for h := range queue {
				for i := range each {
					f.postReport(client, fmt.Sprintf("host%d.example.com", h), time.Unix(int64(1.7e9+i), 0).UTC().Format("2006-01-02 15:04:05 UTC"))
				}
			}
		})
	}
	for h := range hosts {
		queue <- h
	}
	close(queue)
	wg.Wait()
}

func (f *form) postReport(client *http.Client, host, at string) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, f.url+"/api/config_reports", bytes.NewReader(harness.Report(host, at)))
	if err != nil {
		f.t.Error(err)
		return
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		f.t.Error(err)
		return
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusCreated {
		f.t.Errorf("status %d for %s %s", resp.StatusCode, host, at)
	}
}

package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// Load posts config reports for many hosts: each host's reports one after the
// other, in the order of their reported_at. A report that is not answered with
// 2xx is sent again until it is, as a careful sender would: its derived key
// makes that safe.
type Load struct {
	URL     string // of the edge
	Clients int
	Hosts   int           // per client
	Pause   time.Duration // of a client, after each report
	Client  *http.Client

	mu       sync.Mutex
	answered map[string][]string // per host: reported_at of the answered reports, in order
	refused  int                 // attempts that were not answered with 2xx
}

// Run posts until ctx ends; reports under way are then given up, answered or not.
func (l *Load) Run(ctx context.Context) {
	l.answered = map[string][]string{}
	if l.Client == nil {
		transport := &http.Transport{MaxIdleConnsPerHost: l.Clients}
		defer transport.CloseIdleConnections()
		l.Client = &http.Client{Transport: transport, Timeout: 20 * time.Second}
	}
	var wg sync.WaitGroup
	for c := range l.Clients {
		wg.Go(func() { l.client(ctx, c) })
	}
	wg.Wait()
}

func (l *Load) client(ctx context.Context, c int) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := 0; ctx.Err() == nil; i++ {
		host := fmt.Sprintf("host%d-%d.example.com", c, i%l.Hosts)
		at := start.Add(time.Duration(i/l.Hosts) * time.Second).Format("2006-01-02 15:04:05 UTC")
		for ctx.Err() == nil && !l.post(ctx, host, at) {
			pause(ctx, 20*time.Millisecond)
		}
		pause(ctx, l.Pause)
	}
}

func (l *Load) post(ctx context.Context, host, at string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.URL+"/api/config_reports", bytes.NewReader(Report(host, at)))
	if err != nil {
		return false
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := l.Client.Do(req)
	ok := err == nil && resp.StatusCode == http.StatusCreated
	if err == nil {
		_, _ = io.Copy(io.Discard, resp.Body) // only the status counts
		_ = resp.Body.Close()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !ok {
		l.refused++
		return false
	}
	l.answered[host] = append(l.answered[host], at)
	return true
}

// Answered is what was answered with 2xx, per host, in order.
func (l *Load) Answered() map[string][]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make(map[string][]string, len(l.answered))
	for host, reports := range l.answered {
		all[host] = append([]string(nil), reports...)
	}
	return all
}

// Total is the number of answered reports, and of attempts that were not.
func (l *Load) Total() (answered, refused int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, reports := range l.answered {
		answered += len(reports)
	}
	return answered, l.refused
}

// Report is a config report as Puppet's processor sends it.
func Report(host, reportedAt string) []byte {
	body, err := json.Marshal(map[string]any{"config_report": map[string]any{
		"host": host, "reported_at": reportedAt,
		"status":  map[string]int{"applied": 1, "restarted": 0, "failed": 0, "failed_restarts": 0, "skipped": 0, "pending": 0},
		"metrics": map[string]any{"time": map[string]float64{"total": 1.5}}, "logs": []any{},
	}})
	if err != nil {
		panic(err) // the literal above can be encoded
	}
	return body
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

// publishers is how many clients post at one time.
const publishers = 16

// awaitReady waits until the relay takes requests, or has ended.
func (g *guest) awaitReady(died <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	for {
		select {
		case err := <-died:
			return fmt.Errorf("the relay did not start: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("the relay was not ready within %v; it wrote at last: %s", readyTimeout, g.log.String())
		case <-time.After(20 * time.Millisecond): // another process: there is no signal to wait for
		}
		resp, err := http.Get("http://" + guestAddress + "/readyz")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
	}
}

// load posts reports until the power is cut, and tells each one that was
// answered with 201.
func (g *guest) load() {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: publishers}, Timeout: time.Minute}
	var all sync.WaitGroup
	for p := range publishers {
		all.Go(func() {
			for i := 0; ; i++ {
				if err := g.post(client, p, i); err != nil {
					g.tell(note{Kind: noteFailed, Text: err.Error()})
					return
				}
			}
		})
	}
	all.Wait()
}

func (g *guest) post(client *http.Client, p, i int) error {
	body, err := report(g.job.Round, p, i)
	if err != nil {
		return err
	}
	resp, err := client.Post("http://"+guestAddress+"/api/config_reports", "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	_ = resp.Body.Close() // it was read
	if err != nil {
		return err
	}
	var receipt relay.Receipt
	if err := json.Unmarshal(answer, &receipt); err != nil || resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("a report was answered with %s: %.300s", resp.Status, answer)
	}
	g.tell(note{Kind: noteAcked, Stored: stored{receipt.ID, relay.DigestOf(body)}, Durability: receipt.Durability})
	return nil
}

// report is a config report of some hundred bytes to some thousand.
func report(round, p, i int) ([]byte, error) {
	at := time.Date(2026, 1, 1+round, 0, 0, 0, 0, time.UTC).Add(time.Duration(i) * time.Second)
	return json.Marshal(map[string]any{"config_report": map[string]any{
		"host": fmt.Sprintf("host%d.example.com", p), "reported_at": at.Format("2006-01-02 15:04:05 UTC"),
		"status":  map[string]int{"applied": 1, "restarted": 0, "failed": 0, "failed_restarts": 0, "skipped": 0, "pending": 0},
		"metrics": map[string]any{"time": map[string]float64{"total": 1.5}},
		"logs": []any{map[string]any{"log": map[string]any{"level": "notice", "sources": map[string]string{"source": "Puppet"},
			"messages": map[string]string{"message": strings.Repeat("x", (p*131+i*977)%6000)}}}},
	}})
}

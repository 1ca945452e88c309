// Command demo tells the relay's story in a terminal: reports come in, Foreman
// goes away, more come, the relay is killed and started again, Foreman comes
// back, and everything has arrived once and in order. It exits with 1 if not.
//
//	go run ./test/demo
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
	standin "github.com/theforeman/foreman-relay/test/foreman"
)

func main() {
	if err := run(); err != nil {
		fmt.Println("\nThe story went wrong:", err)
		os.Exit(1)
	}
}

// story is what the demo runs.
type story struct {
	dir, url string
	foreman  *standin.Server
	relay    *exec.Cmd
	sent     map[string][]string // by host: reported_at of the answered reports
	clock    int
}

func run() error {
	dir, err := os.MkdirTemp("", "foreman-relay-demo-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary directory
	s := &story{dir: dir, foreman: standin.New(), sent: map[string][]string{}}
	if err := s.foreman.Start("127.0.0.1:0"); err != nil {
		return err
	}
	defer s.foreman.Stop()
	defer s.kill()
	for _, chapter := range []struct {
		title string
		tell  func() error
	}{
		{"The relay is built and started; Foreman is there.", s.begin},
		{"Three hosts report; Foreman has the reports a moment later.", s.report(5)},
		{"", s.awaitEverything},
		{"Foreman goes away. The hosts report all the same, and are answered at once.", s.outage},
		{"The relay is killed (SIGKILL) and started again.", s.again},
		{"More reports, Foreman still away.", s.report(20)},
		{"Foreman comes back.", func() error { return s.foreman.Start("") }},
		{"", s.awaitEverything},
		{"Did everything arrive once, and in the order of its host?", s.compare},
		{"Does the ledger balance?", s.audit},
	} {
		if chapter.title != "" {
			fmt.Println("\n*", chapter.title)
		}
		if err := chapter.tell(); err != nil {
			return err
		}
	}
	fmt.Println("\nEverything arrived once and in order.")
	return nil
}

func (s *story) begin() error {
	build := exec.Command("go", "build", "-buildvcs=false", "-o", filepath.Join(s.dir, "foreman-relay"), "github.com/theforeman/foreman-relay/cmd/foreman-relay")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w: %s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.url = "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		return err
	}
	return s.start()
}

func (s *story) socket() string { return filepath.Join(s.dir, "state", "admin.sock") }

func (s *story) start() error {
	s.relay = exec.Command(filepath.Join(s.dir, "foreman-relay"), "serve", "--listen", s.url[len("http://"):],
		"--state-dir", filepath.Join(s.dir, "state"), "--foreman-url", s.foreman.URL(), "--log-level", "error", "--log-format", "console")
	s.relay.Stderr = os.Stdout
	start := time.Now()
	if err := s.relay.Start(); err != nil {
		return err
	}
	for time.Since(start) < 10*time.Second {
		if resp, err := http.Get(s.url + "/readyz"); err == nil {
			_ = resp.Body.Close() // only the status counts
			if resp.StatusCode == http.StatusOK {
				fmt.Printf("  ready after %v\n", time.Since(start).Round(time.Millisecond))
				return nil
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New("the relay is not ready after 10 s")
}

func (s *story) kill() {
	if s.relay != nil && s.relay.Process != nil {
		_ = s.relay.Process.Kill() // it may be gone
		_ = s.relay.Wait()         // killed: that is its error
	}
}

func (s *story) again() error {
	s.kill()
	return s.start()
}

func (s *story) outage() error {
	s.foreman.Stop()
	return s.report(20)()
}

// report posts n reports for each of three hosts.
func (s *story) report(n int) func() error {
	return func() error {
		start := time.Now()
		for range n {
			s.clock++
			at := time.Date(2026, 11, 24, 8, 0, s.clock, 0, time.UTC).Format("2006-01-02 15:04:05 UTC")
			for _, host := range []string{"web1.example.com", "web2.example.com", "db.example.com"} {
				if err := s.post(host, at); err != nil {
					return err
				}
			}
		}
		fmt.Printf("  %d reports answered in %v\n", 3*n, time.Since(start).Round(time.Millisecond))
		return nil
	}
}

func (s *story) post(host, at string) error {
	body, err := json.Marshal(map[string]any{"config_report": map[string]any{"host": host, "reported_at": at,
		"status": map[string]int{"applied": 1}, "metrics": map[string]any{}, "logs": []any{}}})
	if err != nil {
		return err
	}
	resp, err := http.Post(s.url+"/api/config_reports", "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	_ = resp.Body.Close() // only the status counts
	if resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("a report was answered with %s", resp.Status)
	}
	s.sent[host] = append(s.sent[host], at)
	return nil
}

func (s *story) awaitEverything() error {
	client := handlers.Dial(s.socket())
	defer client.Close()
	start := time.Now()
	for time.Since(start) < 15*time.Second {
		q, err := client.Queue(context.Background(), relay.Queue{Organization: relay.DefaultOrganization, Destination: relay.ForemanDestination})
		if err != nil {
			return err
		}
		if q.Pending == 0 {
			fmt.Printf("  %d accepted, %d delivered, %d pending, %v later\n", q.Accepted, q.Delivered, q.Pending, time.Since(start).Round(time.Millisecond))
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return errors.New("the queue is not empty after 15 s")
}

func (s *story) compare() error {
	got := s.foreman.Reports()
	for host, want := range s.sent {
		if !slices.Equal(want, got[host]) {
			return fmt.Errorf("%s sent %d reports %v, Foreman has %d %v", host, len(want), want, len(got[host]), got[host])
		}
		fmt.Printf("  %-18s %d sent, %d in Foreman, the same in the same order\n", host, len(want), len(got[host]))
	}
	return nil
}

func (s *story) audit() error {
	out, err := exec.Command(filepath.Join(s.dir, "foreman-relay"), "audit", "--admin-socket", s.socket()).CombinedOutput()
	fmt.Printf("%s", out)
	return err
}

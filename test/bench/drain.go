package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// sink takes everything, as fast as it can, and says that it is Foreman.
type sink struct {
	server  *http.Server
	url     string
	taken   atomic.Int64
	changed chan struct{}
}

func startSink() (*sink, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &sink{url: "http://" + l.Addr().String(), changed: make(chan struct{}, 1)}
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.server.Serve(l) }() // it ends with Close
	return s, nil
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // it is only counted
	w.Header().Set("Foreman_version", "3.13.0")
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodGet {
		_, _ = io.WriteString(w, `{"results":{"foreman":{"database":{"active":true}}}}`)
		return
	}
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, `{"id":1}`)
	s.taken.Add(1)
}

// rate waits until so many have come, and is how many came a second between the
// first fifth and the last: the ramp after a start is there to spare Foreman.
func (s *sink) rate(ctx context.Context, n int64) (whole, steady float64, err error) {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	deadline := time.Now().Add(5 * time.Minute)
	var first, fifth time.Time
	var at int64
	for {
		taken := s.taken.Load()
		now := time.Now()
		if taken > 0 && first.IsZero() {
			first = now
		}
		if taken >= n/5 && fifth.IsZero() {
			fifth, at = now, taken
		}
		if taken >= n {
			return float64(n) / now.Sub(first).Seconds(), float64(taken-at) / now.Sub(fifth).Seconds(), nil
		}
		if now.After(deadline) {
			return 0, 0, fmt.Errorf("%d of %d came", taken, n)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		}
	}
}

func (b *bench) drain() error {
	fmt.Println("| work | body | ours /s, after the ramp | ours /s, with it | theirs /s | ratio after, with | at least |")
	fmt.Println("|---|---|---|---|---|---|---|")
	for _, size := range b.sizes {
		var ours, theirs []figures
		var whole []figures
		for range b.rounds {
			w, s, err := b.drainOurs(size)
			if err != nil {
				return err
			}
			_, t, err := b.drainTheirs(size)
			if err != nil {
				return err
			}
			ours, whole, theirs = append(ours, figures{rate: s}), append(whole, figures{rate: w}), append(theirs, figures{rate: t})
		}
		o, w, t := median(ours).rate, median(whole).rate, median(theirs).rate
		fmt.Printf("| fsync : pull and post | %d KB | %.0f | %.0f | %.0f | %.2f, %.2f | 0.6 |\n", size>>10, o, w, t, o/t, w/t)
	}
	return nil
}

// drainOurs fills a queue, many hosts, and then starts a relay that delivers.
func (b *bench) drainOurs(size int) (whole, steady float64, err error) {
	dir, clean, err := b.fresh()
	defer clean()
	if err != nil {
		return 0, 0, err
	}
	filled, err := b.fill(dir, size, b.settled, "os")
	if err != nil {
		return 0, 0, err
	}
	s, err := startSink()
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = s.server.Close() }() // everything has come
	config, err := writeConfig(dir, "foreman: {concurrency: 64}\n")
	if err != nil {
		return 0, 0, err
	}
	p, err := b.startRelay(dir, "--config", config, "--foreman-url", s.url)
	if err != nil {
		return 0, 0, err
	}
	defer p.stop()
	return s.rate(b.keepGoing, int64(filled))
}

// fill posts n reports of many hosts and stops the relay; how many there were.
func (b *bench) fill(dir string, size, n int, durability string) (int, error) {
	p, err := b.startRelay(dir, "--durability", durability)
	if err != nil {
		return 0, err
	}
	defer p.stop()
	if _, err := p.ready(b.keepGoing); err != nil {
		return 0, err
	}
	filled, err := b.post(p, size, n)
	return filled, err
}

// post sends n reports of 2 000 hosts.
func (b *bench) post(p *program, size, n int) (int, error) {
	ctx, stop := context.WithCancel(b.keepGoing)
	defer stop()
	var sent atomic.Int64
	make := reports(size, 0)
	l := load{address: p.address, paths: []string{reportPath}, clients: 64, time: time.Hour, body: func(c, i int) []byte {
		if sent.Add(1) >= int64(n) {
			stop()
		}
		return make(c*32+i%32, i/32)
	}}
	f, err := l.run(ctx)
	if err == nil && f.failed > 0 {
		err = fmt.Errorf("%d requests failed", f.failed)
	}
	return int(sent.Load()) - 64, err // the last of each client may have been cut off
}

func (b *bench) drainTheirs(size int) (whole, steady float64, err error) {
	dir, clean, err := b.fresh()
	defer clean()
	if err != nil {
		return 0, 0, err
	}
	p, err := b.startBaseline(dir, false, 1)
	if err != nil {
		return 0, 0, err
	}
	if _, err := p.ready(b.keepGoing); err != nil {
		return 0, 0, err
	}
	ctx, stop := context.WithCancel(b.keepGoing)
	defer stop()
	var sent atomic.Int64
	body := reports(size, 0)
	_, err = load{address: p.address, paths: []string{"/0"}, clients: 64, time: time.Hour, body: func(c, i int) []byte {
		if sent.Add(1) >= int64(b.settled) {
			stop()
		}
		return body(c, i)
	}}.run(ctx)
	p.stop()
	if err != nil {
		return 0, 0, err
	}
	s, err := startSink()
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = s.server.Close() }() // everything has come
	d, err := start("", b.baseline, "--dir", dir, "--drain", s.url)
	if err != nil {
		return 0, 0, err
	}
	defer d.stop()
	return s.rate(b.keepGoing, sent.Load()-64)
}

func writeConfig(dir, text string) (string, error) {
	path := filepath.Join(dir, "bench.yaml")
	return path, os.WriteFile(path, []byte(text), 0o600)
}

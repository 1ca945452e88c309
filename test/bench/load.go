package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// load is a closed loop: so many clients, each sends its next request when the
// last one is answered. It speaks just enough HTTP for that, so that most of the
// machine is left to what is measured.
type load struct {
	address string
	tls     *tls.Config // nil: plain
	anew    bool        // a new connection for every request, as Puppet's processor does
	paths   []string    // the clients take turns
	clients int
	time    time.Duration
	body    func(client, n int) []byte
}

// figures are what a load has measured.
type figures struct {
	rate     float64 // answered with 2xx, a second
	p50, p99 time.Duration
	failed   int
}

func (l load) run(ctx context.Context) (figures, error) {
	ctx, cancel := context.WithTimeout(ctx, l.time)
	defer cancel()
	var (
		mu    sync.Mutex
		all   []time.Duration
		total figures
		first error
		wg    sync.WaitGroup
	)
	start := time.Now()
	for c := range l.clients {
		wg.Go(func() {
			took, failed, err := l.client(ctx, c)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
			total.failed += failed
			if first == nil {
				first = err
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(start)
	if len(all) == 0 {
		return total, fmt.Errorf("nothing was answered: %w", first)
	}
	slices.Sort(all)
	total.rate = float64(len(all)) / elapsed.Seconds()
	total.p50, total.p99 = all[len(all)/2], all[len(all)*99/100]
	return total, first
}

func (l load) client(ctx context.Context, c int) (took []time.Duration, failed int, err error) {
	var conn net.Conn
	var answers *bufio.Reader
	var request bytes.Buffer
	for n := 0; ctx.Err() == nil; n++ {
		body := l.body(c, n)
		request.Reset()
		fmt.Fprintf(&request, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAccept: */*\r\nContent-Length: %d\r\n\r\n",
			l.paths[c%len(l.paths)], l.address, len(body))
		request.Write(body)
		begun := time.Now()
		if conn == nil {
			if conn, err = l.dial(ctx); err != nil {
				return took, failed, ignoreEnd(ctx, err)
			}
			answers = bufio.NewReader(conn)
		}
		if _, err := conn.Write(request.Bytes()); err != nil {
			return took, failed, ignoreEnd(ctx, err)
		}
		status, err := readAnswer(answers)
		if err != nil {
			return took, failed, ignoreEnd(ctx, err)
		}
		if status >= 200 && status <= 299 {
			took = append(took, time.Since(begun))
		} else {
			failed++
		}
		if l.anew {
			_ = conn.Close() // measured is how it was opened
			conn = nil
		}
	}
	if conn != nil {
		_ = conn.Close() // nothing is under way
	}
	return took, failed, nil
}

// dial opens a connection that leaves nothing behind when it is closed: else the
// machine runs out of ports, which are kept for a minute.
func (l load) dial(ctx context.Context) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", l.address)
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok && l.anew {
		_ = tcp.SetLinger(0) // see above; it is only a benchmark that fails
	}
	if l.tls == nil {
		return conn, nil
	}
	return tls.Client(conn, l.tls), nil
}

// ignoreEnd: what was under way when the time was over is cut off, a moment
// before the context says so.
func ignoreEnd(ctx context.Context, err error) error {
	const moment = 100 * time.Millisecond
	if at, ok := ctx.Deadline(); ok && time.Until(at) < moment {
		return nil
	}
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the load was ended
	}
	return err
}

// readAnswer reads one answer and returns its status.
func readAnswer(r *bufio.Reader) (int, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < 12 {
		return 0, fmt.Errorf("no answer of HTTP: %q", line)
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return 0, err
	}
	length := -1
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if name, value, ok := bytes.Cut(line, []byte(": ")); ok && string(name) == "Content-Length" {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return 0, err
			}
		}
	}
	if length < 0 && status != http.StatusNoContent {
		return 0, errors.New("an answer without a length")
	}
	_, err = io.CopyN(io.Discard, r, int64(max(0, length)))
	return status, err
}

// reports makes config reports of about size bytes, each another one: a host
// for every client, and a time for every request.
func reports(size int, run int) func(client, n int) []byte {
	const head, tail = `{"config_report":{"host":"`, `]}}`
	line := `{"log":{"level":"notice","sources":{"source":"//host/Puppet"},"messages":{"message":"Applied catalog in 0.03 seconds"}}}`
	status := `"status":{"applied":1,"restarted":0,"failed":0,"failed_restarts":0,"skipped":0,"pending":0},"metrics":{"time":{"total":1.5}},"logs":[`
	lines := line
	for len(lines)+len(status)+100 < size {
		lines += "," + line
	}
	start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	return func(client, n int) []byte {
		b := make([]byte, 0, len(lines)+512)
		b = append(b, head...)
		b = fmt.Appendf(b, `host%d-%d.example.com","reported_at":"`, run, client)
		b = start.Add(time.Duration(n)*time.Second).AppendFormat(b, "2006-01-02 15:04:05 UTC")
		b = append(b, '"', ',')
		b = append(b, status...)
		b = append(b, lines...)
		return append(b, tail...)
	}
}

package test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/test/harness"
)

// Twenty uploads of 50 MiB at one time, and twenty deliveries: what the process
// holds in memory does not depend on how large the bodies are. `make large` runs
// it in this size; by default the bodies are smaller, and the bound the same.
func TestLargeBodiesTakeLittleMemory(t *testing.T) {
	const uploads, mostResident = 20, 300 << 20
	size, small := int64(8<<20), 0
	if s := os.Getenv("RELAY_LARGE_BODY"); s != "" {
		var err error
		size, err = strconv.ParseInt(s, 10, 64)
		require.NoError(t, err)
		small = 3000 // delivered first: it takes seconds until a destination is trusted with so many at one time
	}
	d := newSink(t)
	dir := t.TempDir()
	socket, address := filepath.Join(dir, "s"), harness.FreeAddress(t)
	p := harness.Start(t, "serve", "--state-dir", filepath.Join(dir, "state"), "--admin-socket", socket, "--listen", address,
		"--foreman-url", d.URL, "--concurrency", "20")
	harness.AwaitQueue(t, socket, 20*time.Second, func(relay.QueueStatus) bool { return true })
	_, errs, code := harness.Command(t, "queue", "pause", "default/foreman", "--admin-socket", socket)
	require.Zero(t, code, errs)

	atOnce(8, small, func(n int) {
		_, _, err := upload(t.Context(), "http://"+address, -1-n, 100)
		noError(t, err)
	})
	start := time.Now()
	sent := map[string]string{}
	var mu sync.Mutex
	atOnce(uploads, uploads, func(n int) {
		id, digest, err := upload(t.Context(), "http://"+address, n, size)
		noError(t, err)
		mu.Lock()
		defer mu.Unlock()
		sent[id] = digest
	})
	require.Len(t, sent, uploads)
	uploaded := peak(t, p.Pid())
	t.Logf("%d uploads of %d bytes in %v, at most %d MiB resident", uploads, size, time.Since(start).Round(time.Millisecond), uploaded>>20)
	require.Less(t, uploaded, int64(mostResident), "resident while %d bodies of %d bytes were taken", uploads, size)

	start = time.Now()
	_, errs, code = harness.Command(t, "queue", "resume", "default/foreman", "--admin-socket", socket)
	require.Zero(t, code, errs)
	harness.AwaitQueue(t, socket, 2*time.Minute, harness.Drained)
	require.Equal(t, sent, d.digests())
	resident := peak(t, p.Pid())
	t.Logf("delivered in %v, %d at one time, at most %d MiB resident", time.Since(start).Round(time.Millisecond), d.most(), resident>>20)
	require.Less(t, resident, int64(mostResident), "resident while %d bodies of %d bytes were delivered", uploads, size)
	harness.Audit(t, socket)
}

// noError is for goroutines that are not the test's own.
func noError(t *testing.T, err error) {
	if err != nil {
		t.Error(err)
	}
}

// atOnce calls f for 0 to n-1, so many at one time.
func atOnce(workers, n int, f func(int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range workers {
		wg.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

// upload sends a body that is made while it is sent; it returns the message's id
// and the digest of what was sent.
func upload(ctx context.Context, url string, seed int, size int64) (id, digest string, err error) {
	sum := sha256.New()
	body := io.TeeReader(io.LimitReader(noise(seed), size), sum)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/relay/v1/queues/default/foreman/messages", body)
	if err != nil {
		return "", "", err
	}
	req.ContentLength = size
	req.Header.Set("Idempotency-Key", fmt.Sprint("large ", seed))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err == nil && resp.StatusCode != http.StatusAccepted {
		err = fmt.Errorf("answered %d: %s", resp.StatusCode, text)
	}
	return resp.Header.Get("Relay-Message-Id"), hex.EncodeToString(sum.Sum(nil)), err
}

// noise is a stream of bytes that no store makes smaller.
func noise(seed int) io.Reader {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], uint64(seed))
	return rand.NewChaCha8(key)
}

// sink is a destination that keeps of each body its digest alone.
type sink struct {
	*httptest.Server
	mu       sync.Mutex
	got      map[string]string
	now, top int
}

func newSink(t *testing.T) *sink {
	t.Helper()
	s := &sink{got: map[string]string{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.take))
	t.Cleanup(s.Close)
	return s
}

func (s *sink) take(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Foreman_version", "3.13.0")
	if r.Method == http.MethodGet {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"results":{"foreman":{"database":{"active":true}}}}`)
		return
	}
	if r.ContentLength < 1<<20 {
		time.Sleep(20 * time.Millisecond) // a destination that takes its time
		w.WriteHeader(http.StatusCreated)
		return
	}
	s.count(1)
	defer s.count(-1)
	sum := sha256.New()
	if n, err := io.Copy(sum, r.Body); err != nil || n != r.ContentLength {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.got[r.Header.Get("Relay-Message-Id")] = hex.EncodeToString(sum.Sum(nil))
	s.mu.Unlock()
	w.WriteHeader(http.StatusCreated)
}

func (s *sink) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now += n
	s.top = max(s.top, s.now)
}

func (s *sink) most() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.top
}

func (s *sink) digests() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]string{}
	for id, digest := range s.got {
		all[id] = digest
	}
	return all
}

// peak is the most that a process ever held in memory, in bytes.
func peak(t *testing.T, pid int) int64 {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			require.NoError(t, err)
			return kb << 10
		}
	}
	t.Fatal("the kernel tells no VmHWM")
	return 0
}

// SIGKILL in the middle of uploads, twice: what was answered is delivered whole and
// once, and nothing is left of the others.
func TestKillsDuringLargeUploads(t *testing.T) {
	const senders, size = 4, 3 << 20
	d := newSink(t)
	dir := t.TempDir()
	socket, address := filepath.Join(dir, "s"), harness.FreeAddress(t)
	p := harness.Start(t, "serve", "--state-dir", filepath.Join(dir, "state"), "--admin-socket", socket, "--listen", address, "--log-level", "warn")
	sent, next := map[string]string{}, 0
	for range 2 {
		harness.AwaitQueue(t, socket, 20*time.Second, func(relay.QueueStatus) bool { return true })
		var mu sync.Mutex
		var wg sync.WaitGroup
		answered := make(chan struct{}, 1000)
		for range senders {
			wg.Go(func() {
				for {
					mu.Lock()
					next++
					seed := next
					mu.Unlock()
					id, digest, err := upload(t.Context(), "http://"+address, seed, size)
					if err != nil {
						return // the kill
					}
					mu.Lock()
					sent[id] = digest
					mu.Unlock()
					answered <- struct{}{}
				}
			})
		}
		for range 3 * senders {
			<-answered
		}
		p.Kill()
		wg.Wait()
		p.Again()
	}
	harness.AwaitQueue(t, socket, 20*time.Second, func(relay.QueueStatus) bool { return true })
	harness.Audit(t, socket)
	require.Zero(t, p.Stop(20*time.Second), p.Log())

	harness.Start(t, "serve", "--state-dir", filepath.Join(dir, "state"), "--admin-socket", socket, "--listen", address, "--log-level", "warn",
		"--foreman-url", d.URL)
	s := harness.AwaitQueue(t, socket, 60*time.Second, harness.Drained)
	got := d.digests()
	for id, digest := range sent {
		require.Equal(t, digest, got[id])
	}
	require.EqualValues(t, s.Accepted, len(got), "one that was stored and not answered is delivered too")
	require.EqualValues(t, s.Delivered, s.Accepted)
	harness.Audit(t, socket)
	require.Eventually(t, func() bool { // the orphans went with the first sweep
		files, err := filepath.Glob(filepath.Join(dir, "state", "objects", "*", "*"))
		return err == nil && len(files) == len(got)
	}, 20*time.Second, 100*time.Millisecond)
}

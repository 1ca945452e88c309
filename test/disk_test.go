package test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	standin "github.com/theforeman/foreman-relay/test/foreman"
	"github.com/theforeman/foreman-relay/test/harness"
)

// onDisk starts the relay in one of its forms with the edge's state on a small
// filesystem of the test's own.
func onDisk(t *testing.T, far bool, options string, args ...string) (f *form, dir string) {
	t.Helper()
	dir, reason := harness.Mount(t, "ext4", 96<<20, options)
	if reason != "" {
		t.Skip("what a disk does is not shown here: ", reason)
	}
	f = newForm(t, filepath.Join(dir, "state"))
	f.start(far, args...)
	return f, dir
}

// ballast takes all space of a directory but what is left.
func ballast(t *testing.T, dir string, left int64) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, "ballast"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	for size := int64(1 << 20); size > 0; {
		var st syscall.Statfs_t
		require.NoError(t, syscall.Statfs(dir, &st))
		free := int64(st.Bavail) * st.Bsize
		if left > 0 && free <= left {
			return
		}
		if left > 0 {
			size = min(size, free-left)
		}
		if _, err := f.Write(make([]byte, size)); err != nil {
			require.ErrorIs(t, err, syscall.ENOSPC)
			size /= 2
		}
	}
}

func removeBallast(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, os.Remove(filepath.Join(dir, "ballast")))
}

// post sends one report and returns the status and what it says.
func (f *form) post(host, at string) (status int, retryAfter, body string) {
	f.t.Helper()
	client := &http.Client{Timeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Post(f.url+"/api/config_reports", "application/json", bytes.NewReader(harness.Report(host, at)))
	require.NoError(f.t, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	require.NoError(f.t, err)
	return resp.StatusCode, resp.Header.Get("Retry-After"), string(text)
}

// metric reads one value from the admin socket.
func (f *form) metric(name string) string {
	f.t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", f.socket)
	}}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://relay/metrics")
	require.NoError(f.t, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	require.NoError(f.t, err)
	for line := range strings.SplitSeq(string(text), "\n") {
		if value, ok := strings.CutPrefix(line, "foreman_relay_"+name+" "); ok {
			return value
		}
	}
	require.Fail(f.t, "no such metric", "%s in\n%s", name, text)
	return ""
}

func reportTime(i int) string {
	return time.Unix(int64(1.7e9+i), 0).UTC().Format("2006-01-02 15:04:05 UTC")
}

// Below the reserve nothing new is taken, while what waits is delivered and
// operators are answered.
func TestBelowTheReserve(t *testing.T) {
	f, dir := onDisk(t, false, "")
	require.Equal(t, "0", f.metric("disk_low"))
	f.foreman.Stop()
	f.fill(10, 5)
	ballast(t, dir, 4<<20) // the reserve is a tenth of 96 MiB

	require.Eventually(t, func() bool { return f.metric("disk_low") == "1" }, 10*time.Second, 10*time.Millisecond)
	status, retry, body := f.post("new.example.com", reportTime(0))
	require.Equal(t, http.StatusInsufficientStorage, status, body)
	require.Equal(t, "60", retry)
	require.Contains(t, body, "nearly full")
	require.EqualValues(t, 50, harness.Queues(t, f.socket)[0].Pending)
	require.NoError(t, f.foreman.Start(""))
	harness.AwaitQueue(t, f.socket, 30*time.Second, harness.Drained)
	require.Equal(t, "0", f.metric("store_broken"))

	removeBallast(t, dir)
	require.Eventually(t, func() bool { return f.metric("disk_low") == "0" }, 10*time.Second, 10*time.Millisecond)
	status, _, body = f.post("new.example.com", reportTime(0))
	require.Equal(t, http.StatusCreated, status, body)
	harness.AwaitQueue(t, f.socket, 30*time.Second, harness.Drained)
	harness.Audit(t, f.socket)
}

// Senders as fast as can be cannot outrun the guard: the door closes at the
// reserve, and the store never meets the end of the disk.
func TestTheGuardIsNotOutrun(t *testing.T) {
	f, _ := onDisk(t, false, "")
	f.foreman.Stop()
	body := bytes.Repeat([]byte("x"), 1<<20)
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for {
				resp, err := client.Post(f.url+"/relay/v1/queues/default/foreman/messages", "text/plain", bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				_ = resp.Body.Close()
				if resp.StatusCode == http.StatusInsufficientStorage {
					return
				}
				if resp.StatusCode != http.StatusAccepted {
					t.Error(resp.Status)
					return
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, "0", f.metric("store_broken"))
	require.Equal(t, "0", f.metric("store_restarts_total"))
	s := harness.Queues(t, f.socket)[0]
	t.Logf("%d MiB taken of 96, %s bytes free at a reserve of %s", s.Accepted, f.metric("disk_free_bytes"), f.metric("disk_reserve_bytes"))
	require.Greater(t, s.Accepted, uint64(50), "it did fill the disk")
}

// Another program takes all space at once, under load, again and again. What was
// answered is delivered, once and in order, and the relay goes on by itself.
func TestAFullDiskUnderLoad(t *testing.T) {
	for name, far := range map[string]bool{"one process": false, "two processes": true} {
		t.Run(name, func(t *testing.T) {
			f, dir := onDisk(t, far, "")
			load := &harness.Load{URL: f.url, Clients: 16, Hosts: 4, Pause: 10 * time.Millisecond}
			stop := startLoad(t, load)
			for i := range 3 {
				f.awaitRequests(len(f.foreman.Requests())+200, 20*time.Second)
				f.betweenAnswerAndRecord(func() { ballast(t, dir, 0) })
				require.Eventually(t, func() bool { return f.metric("store_broken") == "1" }, 20*time.Second, 10*time.Millisecond)
				start := time.Now()
				status, _, body := f.post("new.example.com", reportTime(i))
				require.Equal(t, http.StatusInsufficientStorage, status, body)
				require.Less(t, time.Since(start), 5*time.Second, "not after a timeout")
				require.Len(t, harness.Queues(t, f.socket), 1)
				if i == 2 { // and it can be started on a full disk
					f.edge.Kill()
					f.edge.Again()
					f.awaitAnswer(http.StatusInsufficientStorage)
				}
				removeBallast(t, dir)
				start = time.Now()
				f.awaitReady()
				t.Logf("it goes on %v after there is space", time.Since(start).Round(time.Millisecond))
			}
			f.awaitRequests(len(f.foreman.Requests())+200, 20*time.Second)
			stop()
			harness.AwaitQueue(t, f.socket, 60*time.Second, harness.Drained)
			answered, refused := load.Total()
			t.Logf("%d answered, %d refused; %d counted by Foreman of %d sent to it", answered, refused, f.foreman.Stats().Counted, f.foreman.Stats().Requests)
			f.verify(load.Answered())
			harness.Audit(t, f.socket)
		})
	}
}

// betweenAnswerAndRecord does something while Foreman has counted a report that
// the drain does not know of yet: recording it is then the first thing to meet
// what was done.
func (f *form) betweenAnswerAndRecord(do func()) {
	f.t.Helper()
	counted, release := make(chan struct{}), make(chan struct{})
	once := sync.OnceFunc(func() { close(counted) })
	f.foreman.OnCounted(func(*standin.Request) {
		once()
		<-release
	})
	defer f.foreman.OnCounted(nil)
	defer close(release)
	select {
	case <-counted:
	case <-time.After(20 * time.Second):
		require.Fail(f.t, "nothing is delivered", f.edge.Log())
	}
	do()
}

// startLoad runs a load until the returned function is called.
func startLoad(t *testing.T, load *harness.Load) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		load.Run(ctx)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(stop)
	return stop
}

// awaitAnswer waits until a report gets that status.
func (f *form) awaitAnswer(want int) {
	f.t.Helper()
	client := &http.Client{Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	require.Eventually(f.t, func() bool {
		resp, err := client.Post(f.url+"/api/config_reports", "application/json", bytes.NewReader(harness.Report("x.example.com", reportTime(0))))
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == want
	}, 20*time.Second, 20*time.Millisecond)
}

// The disk fails under load, in each durability that promises anything: the
// process says so and ends, and does not start on the broken disk. After a repair
// it starts, and everything that was answered is delivered.
func TestAFailedDisk(t *testing.T) {
	for _, mode := range []string{"fsync-barrier", "fsync-always"} {
		t.Run(mode, func(t *testing.T) {
			f, dir := onDisk(t, false, "", "--durability", mode)
			load := &harness.Load{URL: f.url, Clients: 16, Hosts: 4, Pause: 5 * time.Millisecond}
			stop := startLoad(t, load)
			f.awaitRequests(300, 20*time.Second)
			if mode == "fsync-always" {
				stop() // Linux 6.18 says yes to an fsync that is under way at that moment, and loses it (docs/disk.md)
			}
			harness.Break(t, dir)
			f.tryPost()
			require.Equal(t, 1, f.edge.Wait(20*time.Second))
			require.Contains(t, f.edge.Log(), "writing to the disk failed, nothing more can be promised")
			require.Contains(t, f.edge.Log(), "input/output error")
			stop()
			f.edge.Again()
			require.Equal(t, 1, f.edge.Wait(20*time.Second), "not on a disk that is broken")

			harness.Repair(t, dir)
			f.edge.Again()
			f.awaitReady()
			harness.AwaitQueue(t, f.socket, 60*time.Second, harness.Drained)
			answered, refused := load.Total()
			t.Logf("%d answered, %d not", answered, refused)
			f.verify(load.Answered())
			harness.Audit(t, f.socket)
		})
	}
}

// The kernel finds an error in the filesystem and makes it read-only: where
// anything was promised of the disk the process ends, and does not start before
// the filesystem is repaired. Where nothing was, it stays and says so.
func TestAReadOnlyFilesystem(t *testing.T) {
	for _, mode := range []string{"fsync-barrier", "fsync-always"} {
		t.Run(mode+" ends", func(t *testing.T) {
			f, dir := onDisk(t, false, "errors=remount-ro", "--durability", mode)
			f.fill(5, 5)
			harness.Ail(t, dir)
			f.tryPost() // the first write finds out
			require.Equal(t, 1, f.edge.Wait(20*time.Second))
			require.Contains(t, f.edge.Log(), "writing to the disk failed, nothing more can be promised")
			f.edge.Again()
			require.Equal(t, 1, f.edge.Wait(20*time.Second))
			require.Contains(t, f.edge.Log(), "the filesystem is read-only: mount it writable")

			harness.Repair(t, dir)
			f.edge.Again()
			f.awaitReady()
			s := harness.AwaitQueue(t, f.socket, 30*time.Second, harness.Drained)
			require.GreaterOrEqual(t, s.Delivered, uint64(25))
			harness.Audit(t, f.socket)
		})
	}
	t.Run("os stays and says so", func(t *testing.T) {
		f, dir := onDisk(t, false, "errors=remount-ro", "--durability", "os")
		harness.Ail(t, dir)
		f.tryPost()
		require.Eventually(t, func() bool { return f.metric("store_broken") == "1" }, 20*time.Second, 10*time.Millisecond)
		status, retry, body := f.post("new.example.com", reportTime(0))
		require.Equal(t, http.StatusServiceUnavailable, status, body)
		require.Equal(t, "60", retry)
		require.Contains(t, body, "the filesystem of the state directory is read-only")
		require.Len(t, harness.Queues(t, f.socket), 1)
	})
}

// tryPost sends a report to a relay that may end meanwhile.
func (f *form) tryPost() {
	f.t.Helper()
	client := &http.Client{Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Post(f.url+"/api/config_reports", "application/json", bytes.NewReader(harness.Report("try.example.com", reportTime(0))))
	if err != nil {
		return
	}
	require.Equal(f.t, http.StatusServiceUnavailable, resp.StatusCode)
	require.NoError(f.t, resp.Body.Close())
}

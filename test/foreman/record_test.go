package standin_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	standin "github.com/theforeman/foreman-relay/test/foreman"
)

// The requests as Puppet sends them are on record as they came.
func TestRequestsAreRecordedByteForByte(t *testing.T) {
	s := start(t)
	for i, c := range []struct{ path, file string }{
		{"/api/config_reports?a=b%20c&d", "puppet-config-report-65-resources.json"},
		{"/api/v2/config_reports", "puppet-config-report-noop.json"},
		{"/api/hosts/facts", "puppet-facts.json"},
	} {
		body, err := os.ReadFile(filepath.Join("..", "testdata", "captures", c.file))
		require.NoError(t, err)
		header := http.Header{
			"Content-Type": {"application/json"}, "Accept": {"*/*, application/json,version=2"}, "X-Two": {"one", "two"},
		}
		before := time.Now()
		got, err := try(t.Context(), client(t), http.MethodPost, s.URL()+c.path, header, body)
		require.NoError(t, err)
		require.Equal(t, 201, got.status, got.body)

		kept := s.Requests()[i]
		assert.Equal(t, i+1, kept.Number)
		assert.Equal(t, http.MethodPost, kept.Method)
		assert.Equal(t, c.path, kept.Path)
		assert.True(t, bytes.Equal(body, kept.Body))
		assert.Equal(t, header["Accept"], kept.Header["Accept"])
		assert.Equal(t, header["X-Two"], kept.Header["X-Two"])
		assert.WithinRange(t, kept.At, before, time.Now())
		assert.NotEmpty(t, kept.Host)
		assert.True(t, kept.Counted)
	}
	assert.Equal(t, s.Requests(), s.Counted())
}

func TestForgetKeepsWhatForemanKnows(t *testing.T) {
	s := start(t)
	post(t, s, reports, report("a", noon))
	post(t, s, facts, upload("a", `{"v":1}`))
	s.Forget()
	assert.Empty(t, s.Requests())
	assert.Empty(t, s.Counted())
	assert.Equal(t, standin.Stats{}, s.Stats())
	assert.JSONEq(t, `{"v":1}`, string(s.Facts("a")))
	assert.Equal(t, 422, post(t, s, reports, report("a", noon)).status)
}

func TestAwaitIsWokenByRequestsAndEndsWithItsContext(t *testing.T) {
	s := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	done := make(chan bool, 1)
	go func() { done <- s.Await(ctx, func() bool { return len(s.Counted()) == 2 }) }()
	post(t, s, reports, report("a", noon))
	post(t, s, reports, report("b", noon))
	assert.True(t, <-done)

	ended, end := context.WithCancel(t.Context())
	end()
	assert.False(t, s.Await(ended, func() bool { return false }))
}

func TestTheObserverIsToldBeforeTheSenderIs(t *testing.T) {
	s := start(t)
	var told []string // written before the answer, read after it
	s.OnCounted(func(r *standin.Request) { told = append(told, r.Host) })
	post(t, s, reports, report("a", noon))
	assert.Equal(t, []string{"a"}, told)
	post(t, s, reports, report("a", noon))
	assert.Equal(t, []string{"a"}, told, "a duplicate is not counted")
	s.OnCounted(nil)
	post(t, s, reports, report("b", noon))
	assert.Equal(t, []string{"a"}, told)
}

// together posts all bodies at one time and waits for their answers.
func together(t *testing.T, s *standin.Server, bodies ...string) {
	t.Helper()
	c := client(t)
	var wg sync.WaitGroup
	for _, body := range bodies {
		wg.Go(func() {
			got, err := try(t.Context(), c, http.MethodPost, s.URL()+reports, jsonHeader(), []byte(body))
			assert.NoError(t, err)
			assert.Equal(t, 201, got.status)
		})
	}
	wg.Wait()
}

func TestConcurrentRequestsAreCountedByHost(t *testing.T) {
	s := start(t, standin.Rule{Mode: standin.Slow, Latency: 300 * time.Millisecond})
	together(t, s, report("a", noon), report("b", noon), report("c", noon))
	assert.Equal(t, standin.Stats{Requests: 3, Counted: 3, Most: 3, Together: 1}, s.Stats())
	s.Forget()
	together(t, s, report("a", "2026-11-23 13:00:00 UTC"), report("A", "2026-11-23 14:00:00 UTC"))
	assert.Equal(t, standin.Stats{Requests: 2, Counted: 2, Most: 2, Together: 2}, s.Stats())
}

// One after the other is one at a time, however fast: a request must have left
// the books before its sender has the answer.
func TestOneAfterTheOtherIsNeverTwoAtATime(t *testing.T) {
	s := start(t)
	c := &http.Client{Transport: &http.Transport{}}
	defer c.CloseIdleConnections()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 2000 {
		got, err := try(t.Context(), c, http.MethodPost, s.URL()+reports, jsonHeader(),
			[]byte(report("a", at.Add(time.Duration(i)*time.Second).Format("2006-01-02 15:04:05 UTC"))))
		require.NoError(t, err)
		require.Equal(t, 201, got.status)
	}
	assert.Equal(t, standin.Stats{Requests: 2000, Counted: 2000, Most: 1, Together: 1}, s.Stats())
	assert.Len(t, s.Reports()["a"], 2000)
}

func TestManyHostsAreCountedInTheirOrder(t *testing.T) {
	const hosts, each = 8, 250
	s := start(t)
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: hosts}}
	defer c.CloseIdleConnections()
	var wg sync.WaitGroup
	for h := range hosts {
		wg.Go(func() {
			for i := range each {
				at := fmt.Sprintf("2026-01-01 00:%02d:%02d UTC", i/60, i%60)
				got, err := try(t.Context(), c, http.MethodPost, s.URL()+reports, jsonHeader(), []byte(report(fmt.Sprint("host", h), at)))
				if !assert.NoError(t, err) || !assert.Equal(t, 201, got.status) {
					return
				}
			}
		})
	}
	wg.Wait()
	assert.Equal(t, hosts*each, s.Stats().Counted)
	assert.Equal(t, 1, s.Stats().Together)
	for host, times := range s.Reports() {
		assert.Len(t, times, each, host)
		assert.IsIncreasing(t, times, host)
	}
}

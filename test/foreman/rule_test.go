package standin_test

import (
	"context"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	standin "github.com/theforeman/foreman-relay/test/foreman"
)

// Modes that answer: with what, and whether it looks like Foreman's own answer.
func TestModesThatAnswer(t *testing.T) {
	for mode, c := range map[standin.Mode]struct {
		report, facts, ping int
		foreman             bool
		says                string // to facts
	}{
		standin.HTML503:     {503, 503, 503, false, "<html>"},
		standin.BadGateway:  {502, 502, 502, false, "<html>"},
		standin.Maintenance: {200, 200, 200, false, "<html>"},
		standin.JSON503:     {503, 503, 503, false, "MaintenanceException"},
		standin.Error500:    {500, 500, 500, true, "Internal Server Error"},
		standin.Forbidden:   {403, 403, 200, true, "Missing one of the required permissions"},
		standin.Unauthorize: {401, 401, 200, false, "Unable to authenticate user"},
		standin.BuildMode:   {201, 422, 200, true, "Host is pending for Build"},
	} {
		t.Run(string(mode), func(t *testing.T) {
			s := start(t, standin.Rule{Mode: mode, RetryAfter: "7"})
			got := post(t, s, facts, upload("a", `{}`))
			assert.Equal(t, c.facts, got.status)
			assert.Contains(t, got.body, c.says)
			assert.Equal(t, "7", got.header.Get("Retry-After"))
			assert.Equal(t, c.foreman, got.header.Get("Foreman_version") != "")
			assert.Equal(t, c.foreman, got.header.Get("Foreman_api_version") != "")
			assert.Equal(t, c.report, post(t, s, reports, report("a", noon)).status)
			assert.Equal(t, c.ping, get(t, s, ping).status)
			assert.Len(t, s.Counted(), len(s.Reports()), "only a report that was answered with 201 is applied")
			assert.Equal(t, c.facts, s.Requests()[0].Status)
		})
	}
}

func TestADatabaseThatIsGoneShowsInThePing(t *testing.T) {
	s := start(t, standin.Rule{Mode: standin.NoDatabase, Path: ping})
	got := get(t, s, ping)
	assert.Equal(t, 200, got.status)
	assert.Contains(t, got.body, `"active":false`)
}

func TestThePingMayBeFineWhilePostsFail(t *testing.T) {
	s := start(t, standin.Rule{Mode: standin.HTML503, NotPing: true})
	assert.Equal(t, 200, get(t, s, ping).status)
	assert.Equal(t, 503, post(t, s, reports, report("a", noon)).status)
}

func TestDropEndsTheConnectionBeforeTheWorkAndDropAfterBehindIt(t *testing.T) {
	for mode, c := range map[standin.Mode]struct{ counted, again int }{
		standin.Drop:      {0, 201},
		standin.DropAfter: {1, 422}, // it was applied, though its sender never heard of it
	} {
		t.Run(string(mode), func(t *testing.T) {
			s := start(t, standin.Rule{Mode: mode, Times: 1})
			_ = lose(t, s, reports, report("a", noon)) // that it is lost is all
			assert.Len(t, s.Requests(), 1)
			assert.Len(t, s.Counted(), c.counted)
			assert.Equal(t, c.again, post(t, s, reports, report("a", noon)).status)
			assert.Len(t, s.Counted(), 1)
		})
	}
}

// arrived waits until so many requests have come. An arrival wakes nobody in
// Await, so it is asked for again and again.
func arrived(t *testing.T, s *standin.Server, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return len(s.Requests()) == n }, patience, time.Millisecond)
}

func TestHangEndsWhenTheClientGoes(t *testing.T) {
	s := start(t, standin.Rule{Mode: standin.Hang, Times: 1})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c, done := client(t), make(chan error, 1)
	go func() {
		_, err := try(ctx, c, http.MethodPost, s.URL()+reports, jsonHeader(), []byte(report("a", noon)))
		done <- err
	}()
	arrived(t, s, 1)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	assert.Empty(t, s.Counted())
	assert.Equal(t, 201, post(t, s, reports, report("a", noon)).status)
}

func TestHangEndsWithStopAndLeavesNothingBehind(t *testing.T) {
	s := start(t, standin.Rule{Mode: standin.Hang})
	c, done := client(t), make(chan error, 3)
	for range cap(done) {
		go func() {
			_, err := try(t.Context(), c, http.MethodPost, s.URL()+reports, jsonHeader(), []byte(report("a", noon)))
			done <- err
		}()
	}
	arrived(t, s, cap(done))
	s.Stop()
	for range cap(done) {
		require.Error(t, <-done)
	}
	assert.Empty(t, s.Counted())
	require.Eventually(t, func() bool { return !strings.Contains(stacks(), "foreman.(*Server).ServeHTTP") },
		patience, time.Millisecond, "a handler is left")
}

// stacks are those of all goroutines.
func stacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

func TestSlowAnswersAfterItsLatency(t *testing.T) {
	const latency = 50 * time.Millisecond
	s := start(t, standin.Rule{Mode: standin.Slow, Latency: latency})
	began := time.Now()
	assert.Equal(t, 201, post(t, s, reports, report("a", noon)).status)
	assert.GreaterOrEqual(t, time.Since(began), latency)
	assert.Len(t, s.Counted(), 1)
}

func TestRefusedAndBackOnTheSamePort(t *testing.T) {
	s := start(t)
	url := s.URL()
	require.Equal(t, 201, post(t, s, reports, report("a", noon)).status)
	s.Stop()
	s.Stop() // once more is no harm
	require.ErrorContains(t, lose(t, s, reports, report("b", noon)), "refused")
	require.NoError(t, s.Start(""))
	require.Error(t, s.Start(""), "it listens already")
	assert.Equal(t, url, s.URL())
	assert.Equal(t, 422, post(t, s, reports, report("a", noon)).status, "the memory is that of before")
}

// A rule is limited by path, host and number; the first that matches holds.
func TestRulesAreLimited(t *testing.T) {
	s := start(t,
		standin.Rule{Mode: standin.Error500, Host: "poison.example.com"},
		standin.Rule{Mode: standin.BadGateway, Path: "/api/hosts", Times: 2},
	)
	assert.Equal(t, 500, post(t, s, reports, report("Poison.example.com", noon)).status)
	assert.Equal(t, 201, post(t, s, reports, report("fine.example.com", noon)).status)
	var got []int
	for range 3 {
		got = append(got, post(t, s, facts, upload("fine.example.com", `{}`)).status)
	}
	assert.Equal(t, []int{502, 502, 201}, got)
	assert.Equal(t, 500, post(t, s, facts, upload("poison.example.com", `{}`)).status)
	s.SetRules()
	assert.Equal(t, 201, post(t, s, facts, upload("poison.example.com", `{}`)).status)
}

func TestModesAreReadByName(t *testing.T) {
	for _, name := range []string{"", "up"} {
		rule, err := standin.ParseMode(name)
		require.NoError(t, err)
		assert.Nil(t, rule)
	}
	rule, err := standin.ParseMode("drop-after")
	require.NoError(t, err)
	assert.Equal(t, standin.DropAfter, rule.Mode)
	_, err = standin.ParseMode("broken")
	require.ErrorContains(t, err, `"broken"`)
}

package cmd

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	standin "github.com/theforeman/foreman-relay/test/foreman"
)

// askFor is what a relay says to a GET.
func (p *process) askFor(path string) (status int, body string) {
	p.t.Helper()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(p.start["url"] + path)
	require.NoError(p.t, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(p.t, err)
	require.NoError(p.t, resp.Body.Close())
	return resp.StatusCode, string(text)
}

const nodePath = "/node/web1.example.com?format=yml"

// Each reason for which Foreman is not asked.
func TestWhyNothingIsPassedOn(t *testing.T) {
	status, body := startServe(t).askFor(nodePath)
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, body, "Foreman cannot be reached from here: give --foreman-url")

	foreman := startForeman(t)
	off := startServe(t, "--foreman-url", foreman.URL(), "--config", writeFile(t, "pass_through: {enabled: false}\n"))
	status, body = off.askFor(nodePath)
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, body, "pass_through.enabled is false")
	require.Empty(t, foreman.Asked())
}

// The drain has found out that Foreman is away: nobody else waits to find out.
func TestNothingIsPassedOnWhileTheCircuitIsOpen(t *testing.T) {
	foreman := startForeman(t)
	p := startServe(t, "--foreman-url", foreman.URL())
	status, body := p.askFor(nodePath)
	require.Equal(t, http.StatusOK, status, body)
	foreman.SetRules(standin.Rule{Mode: standin.HTML503, Path: "/api"}) // and so the ping
	status, _ = p.post("/api/config_reports", report("web1.example.com"))
	require.Equal(t, http.StatusCreated, status)
	require.Eventually(t, func() bool {
		status, body = p.askFor("/unattended/provision?token=t")
		return status == http.StatusServiceUnavailable
	}, 20*time.Second, 20*time.Millisecond)
	require.Contains(t, body, "Foreman is not asked at this moment")
	foreman.SetRules()
	require.Eventually(t, func() bool {
		status, _ = p.askFor("/unattended/provision?token=t")
		return status == http.StatusOK
	}, 20*time.Second, 20*time.Millisecond)
}

// The numbers of the configuration are those that hold.
func TestConfiguredBoundsOfWhatIsPassedOn(t *testing.T) {
	c := defaultConfig()
	c.PassThrough = PassThrough{Enabled: true, NodeTimeout: time.Second, Timeout: 2 * time.Second, MaxBody: 3000, MaxNode: 4000, MaxAnswer: 5000,
		Stale: true, StaleEntries: 6, StaleBytes: 7000, Callers: []string{"puppet"}}
	o := (&server{config: c}).pass()
	require.True(t, o.Loopback)
	require.Equal(t, []string{"puppet"}, o.Callers)
	require.Equal(t, []any{6, int64(7000)}, []any{o.StaleEntries, o.StaleBytes})
	for _, p := range o.Passes {
		timeout := 2 * time.Second
		if p.Keep {
			timeout = time.Second
		}
		answer := int64(5000)
		if p.Whole {
			answer = 4000
		}
		require.Equal(t, []any{timeout, answer}, []any{p.Timeout, p.MaxAnswer}, p.Name)
		require.Contains(t, []int64{3000, 64 << 10}, p.MaxBody, p.Name)
	}
	c.PassThrough.Stale, c.Listen = false, "192.0.2.1:443"
	o = (&server{config: c}).pass()
	require.Equal(t, []any{false, 0, nil}, []any{o.Loopback, o.StaleEntries, o.Passer})
}

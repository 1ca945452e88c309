package clients

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
	standin "github.com/theforeman/foreman-relay/test/foreman"
	"github.com/theforeman/foreman-relay/test/harness"
)

// site is a relay with a stand-in for Foreman behind it.
type site struct {
	t       *testing.T
	foreman *standin.Server
	url     string // of the edge
	socket  string
	pki     string // empty: plain HTTP
}

// patience is for a machine with much else to do; an open circuit alone is
// probed every few seconds.
const patience = time.Minute

func startSite(t *testing.T, tls bool) *site {
	t.Helper()
	dir, address := t.TempDir(), harness.FreeAddress(t)
	s := &site{t: t, foreman: startForeman(t), url: "http://" + address, socket: filepath.Join(dir, "state", "admin.sock")}
	args := []string{"serve", "--listen", address, "--state-dir", filepath.Dir(s.socket), "--log-level", "warn", "--foreman-url", s.foreman.URL()}
	if tls {
		s.url, s.pki = "https://"+address, filepath.Join(dir, "pki")
		_, errs, code := harness.Command(t, "pki", "init", s.pki, "--host", host)
		require.Zero(t, code, errs)
		in := func(name string) string { return filepath.Join(s.pki, name) }
		args = append(args, "--tls-cert", in("edge.crt"), "--tls-key", in("edge.key"), "--tls-client-ca", in("ca.crt"))
	}
	harness.Start(t, args...)
	s.await(func(relay.QueueStatus) bool { return true })
	return s
}

func startForeman(t *testing.T) *standin.Server {
	t.Helper()
	foreman := standin.New()
	require.NoError(t, foreman.Start("127.0.0.1:0"))
	t.Cleanup(foreman.Stop)
	return foreman
}

// await waits until the queue is as cond says.
func (s *site) await(cond func(relay.QueueStatus) bool) relay.QueueStatus {
	s.t.Helper()
	return harness.AwaitQueue(s.t, s.socket, patience, cond)
}

// awaitCounted waits until Foreman has taken so many requests.
func (s *site) awaitCounted(n int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	require.True(s.t, s.foreman.Await(ctx, func() bool { return len(s.foreman.Counted()) >= n }),
		"Foreman has taken %d requests of %d", len(s.foreman.Counted()), n)
}

// answered are the requests that Foreman has answered; one that it left hanging
// it has not.
func (s *site) answered() []standin.Request {
	var all []standin.Request
	for _, r := range s.foreman.Requests() {
		if r.Status != 0 {
			all = append(all, r)
		}
	}
	return all
}

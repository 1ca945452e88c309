package handlers_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

// TestNobodyThere: the error says what to do.
func TestNobodyThere(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale.sock")
	leaveStale(t, stale)
	for _, path := range []string{filepath.Join(dir, "none.sock"), stale} {
		_, err := dialAdmin(t, path).Queues(t.Context())
		require.Equal(t, relay.CodeUnavailable, relay.CodeOf(err))
		require.ErrorContains(t, err, path)
		require.ErrorContains(t, err, "foreman-relay serve")
		require.ErrorContains(t, err, "--admin-socket")
	}
}

// TestGivenUp: a relay that does not answer in time is not one that is not there.
func TestGivenUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = dialAdmin(t, path).Queues(ctx)
	require.Equal(t, relay.CodeUnavailable, relay.CodeOf(err))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotContains(t, err.Error(), "foreman-relay serve")
}

// TestStrangerAnswers: something else on the socket is no relay.
func TestStrangerAnswers(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"an error page": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<h1>sorry</h1>", http.StatusBadGateway) },
		"an unknown URN": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(400)
			_, _ = io.WriteString(w, `{"type":"urn:foreman-relay:problem:new","detail":"x"}`)
		},
		"no JSON": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			l, err := handlers.ListenUnix(t.Context(), path)
			require.NoError(t, err)
			server := handlers.NewServer(answer, nil, zerolog.Nop())
			done := make(chan error, 1)
			go func() { done <- server.Serve(l) }()
			_, err = dialAdmin(t, path).Queues(t.Context())
			require.Equal(t, relay.CodeInternal, relay.CodeOf(err))
			require.NoError(t, server.Close())
			require.ErrorIs(t, <-done, http.ErrServerClosed)
		})
	}
}

// TestConfigAndVersion of the process that answers.
func TestConfigAndVersion(t *testing.T) {
	c := dialAdmin(t, admin(t, newOperator(), nil))
	config, err := c.Config(t.Context())
	require.NoError(t, err)
	require.JSONEq(t, `{"listen":"here"}`, string(config))
	version, err := c.Version(t.Context())
	require.NoError(t, err)
	require.Equal(t, "1.2.3", version)
}

// TestAdminQuery: what cannot be read is refused.
func TestAdminQuery(t *testing.T) {
	h := handlers.NewAdmin(handlers.AdminOptions{Operator: newOperator(), Intake: &intake{}, Log: zerolog.Nop()})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/admin/v1/queues/a/b/purge?from=x", nil))
	require.Equal(t, http.StatusBadRequest, w.Code)
	for path, says := range map[string]string{
		"/admin/v1/dead-letters?limit=none":     "limit",
		"/admin/v1/dead-letters?limit=0":        "limit",
		"/admin/v1/dead-letters?where=body~x":   "\"body\" is not a field of a dead letter; the fields are attempts,",
		"/admin/v1/dead-letters?since=noon":     "since must be a time",
		"/admin/v1/messages?since=noon":         "since must be a time",
		"/admin/v1/messages?limit=-1":           "limit",
		"/admin/v1/messages?queue=x":            "ORGANIZATION/DESTINATION",
		"/admin/v1/messages?state=lost":         "choose one of scheduled, queued, delivering",
		"/admin/v1/queues/a/b/peek?limit=x":     "limit",
		"/admin/v1/dead-letters?queue=no-slash": "ORGANIZATION/DESTINATION",
	} {
		w := get(h, path)
		require.Equal(t, http.StatusBadRequest, w.Code)
		require.Contains(t, recorded(t, w, relay.CodeMalformed).Detail, says)
	}
}

// leaveStale leaves a socket as a killed process does.
func leaveStale(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
	info, err := os.Lstat(path)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeSocket)
}

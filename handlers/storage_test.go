package handlers_test

import (
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

// Disk and store show at every scrape, in trouble and without.
func TestStorageCollector(t *testing.T) {
	var s relay.Storage
	registry := prometheus.NewRegistry()
	registry.MustRegister(handlers.NewStorageCollector(func() relay.Storage { return s }))
	s = relay.Storage{FreeBytes: 4096, ReserveBytes: 1024, Writable: true, WaitingMost: 8}
	text := scrape(t, registry)
	for _, line := range []string{"disk_free_bytes 4096", "disk_reserve_bytes 1024", "disk_low 0", "store_broken 0",
		"store_restarts_total 0", "disk_waiting 0", "disk_waiting_most 8"} {
		require.Contains(t, text, "\nforeman_relay_"+line+"\n")
	}
	s = relay.Storage{FreeBytes: 10, ReserveBytes: 1024, Low: true, Restarts: 2, Waiting: 3}
	text = scrape(t, registry)
	for _, line := range []string{"disk_free_bytes 10", "disk_low 1", "store_broken 1", "store_restarts_total 2", "disk_waiting 3"} {
		require.Contains(t, text, "\nforeman_relay_"+line+"\n")
	}
}

// What the process says of disk and store, and of its readiness, comes through
// the socket unchanged.
func TestStorageThroughTheSocket(t *testing.T) {
	want := relay.Storage{FreeBytes: 1, ReserveBytes: 2, Low: true, Reason: "full", Restarts: 3, Waiting: 4, WaitingMost: 5, Durability: "os"}
	i := &intake{}
	c := dialAdmin(t, admin(t, newOperator(), func(o *handlers.AdminOptions) {
		o.Storage = func() relay.Storage { return want }
		o.Intake = i
	}))
	got, err := c.Storage(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.NoError(t, c.Ready(t.Context()))
	i.ready = errors.New("the disk is full")
	err = c.Ready(t.Context())
	require.Equal(t, relay.CodeUnavailable, relay.CodeOf(err))
	require.ErrorContains(t, err, "not ready: the disk is full")
}

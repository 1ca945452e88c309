package cmd

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// An attempt of which nobody knows what came is one of the attempts, and counted
// besides; what is not sent again is none.
func TestAttemptsAreToldApartInTheMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := newDrainMetrics(registry, []string{relay.ForemanDestination})
	q := relay.Queue{Organization: relay.DefaultOrganization, Destination: relay.ForemanDestination}
	for _, a := range []relay.AttemptReport{
		{Queue: q, Result: relay.Result{Class: relay.ClassDelivered}, Outcome: relay.Outcome{State: relay.Delivered}},
		{Queue: q, Result: relay.Result{Class: relay.ClassTransient}, Outcome: relay.Outcome{State: relay.Waiting}},
		{Queue: q, Result: relay.Result{Class: relay.ClassTransient, Ambiguous: true}, Outcome: relay.Outcome{State: relay.Waiting}},
		{Queue: q, Outcome: relay.Outcome{State: relay.Delivered, Reason: relay.ReasonDeliveredBefore}},
	} {
		m.observe(a)
	}
	families, err := registry.Gather()
	require.NoError(t, err)
	sums := map[string]float64{}
	for _, f := range families {
		for _, s := range f.GetMetric() {
			sums[f.GetName()] += s.GetCounter().GetValue()
		}
	}
	require.Equal(t, []float64{3, 1, 1}, []float64{sums["foreman_relay_attempts_total"], sums["foreman_relay_ambiguous_attempts_total"], sums["foreman_relay_delivered_before_total"]})
}

// A drain keeps its record in its state directory, unless that is switched off;
// one that cannot be read ends the start with the reason.
func TestWhereTheRecordIsKept(t *testing.T) {
	config := defaultConfig()
	config.StateDir = t.TempDir()
	d, err := openDelivered(config, zerolog.Nop())
	require.NoError(t, err)
	require.NoError(t, d.seam().Note(&relay.Message{ID: "id"}))
	d.close()
	entries, err := os.ReadDir(filepath.Join(config.StateDir, "deliveries"))
	require.NoError(t, err)
	require.Len(t, entries, 1)

	config.Limits.DeliveryWindow = 0
	d, err = openDelivered(config, zerolog.Nop())
	require.NoError(t, err)
	require.Nil(t, d.seam())
	d.close()

	config = defaultConfig()
	config.StateDir = filepath.Join(t.TempDir(), "state")
	require.NoError(t, os.Mkdir(config.StateDir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(config.StateDir, "deliveries"), nil, 0o600))
	_, err = openDelivered(config, zerolog.Nop())
	require.ErrorContains(t, err, "make it readable for this user, or move it away")
}

package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
	standin "github.com/theforeman/foreman-relay/test/foreman"
)

// The whole way: an administrator assigns the smart proxy and takes that back, and
// the organization is on and off; while Foreman is away nothing changes.
func TestTheSwitchFollowsForeman(t *testing.T) {
	f := newRegistering(t)
	f.SetOrganizations("ACME", "ACME/R & D")
	serve := startServe(t, "--foreman-url", f.URL(), "--config", writeFile(t, fmt.Sprintf(
		"organizations: [ACME/R & D]\nsmart_proxy: {name: edge1}\nswitch: {by: foreman, interval: 1s, create: true, credentials: %s}\n", f.file)))
	await := func(text string) {
		t.Helper()
		require.Eventually(t, func() bool { return strings.Contains(serve.log.String(), text) }, 20*time.Second, 10*time.Millisecond, "%s:\n%s", text, serve.log)
	}
	await(`Foreman has no smart proxy \"edge1\" that user admin sees`)
	f.done("edge1", serve.start["url"], "--assign", "ACME")
	await(`the smart proxy \"edge1\" is not assigned to it in Foreman`)
	await(`"made":["ACME"]`)
	f.SetRules(standin.Rule{Path: "/api/v2/smart_proxies", Mode: standin.HTML503})
	await("has failed or is being maintained (503)")
	f.SetRules()
	f.Assign("edge1", 1, 2)
	await(`"enabled":["ACME/R & D"]`)
	await("is read again")
	require.NotContains(t, serve.log.String(), standin.AdminPassword)
}

// The same over the narrow channel: the user of Foreman is on the drain's side.
func TestAFarDrainReadsTheSwitch(t *testing.T) {
	ca, _, _ := certificates(t)
	certs := filepath.Dir(ca)
	f := newRegistering(t)
	f.SetOrganizations("ACME")
	edge := startServe(t, "--broker-listen", "127.0.0.1:0", "--broker-cert", certs+"/edge.crt", "--broker-key", certs+"/edge.key", "--broker-client-ca", ca,
		"--config", writeFile(t, "switch: {by: foreman, create: true}\n"))
	f.done("edge1", edge.start["url"], "--assign", "ACME")
	drain := startProcess(t, append(drainArgs(t, certs, brokerOf(t, edge), f.URL()), "--config",
		writeFile(t, fmt.Sprintf("smart_proxy: {name: edge1}\nswitch: {by: foreman, interval: 1s, credentials: %s}\n", f.file)))...)
	require.Eventually(t, func() bool { return strings.Contains(drain.log.String(), `"made":["ACME"]`) }, 20*time.Second, 10*time.Millisecond, "%s", drain.log)
	require.NotContains(t, edge.log.String()+drain.log.String(), standin.AdminPassword)
}

// What goes wrong is told once, and counted each time.
func TestAFailureOfTheSwitchIsToldOnce(t *testing.T) {
	var log bytes.Buffer
	registry := prometheus.NewRegistry()
	count := func(name, result string) (n float64) {
		families, err := registry.Gather()
		require.NoError(t, err)
		for _, family := range families {
			for _, m := range family.GetMetric() {
				if family.GetName() == name && (result == "" || m.GetLabel()[0].GetValue() == result) {
					n += m.GetCounter().GetValue() + m.GetGauge().GetValue()
				}
			}
		}
		return n
	}
	const looks, last = "foreman_relay_switch_looks_total", "foreman_relay_switch_last_read_timestamp_seconds"
	refused, told := error(relay.Refuse(relay.CodeDenied, "no")), []relay.SwitchReport{}
	r := &switchReader{proxy: "edge1", interval: time.Minute, log: zerolog.New(&log), metrics: newSwitchMetrics(registry),
		read: func(context.Context, string) ([]relay.Assignment, error) {
			return []relay.Assignment{{ID: 1, Title: "ACME"}}, refused
		},
		tell: func(_ context.Context, r relay.SwitchReport) (relay.SwitchReply, error) {
			told = append(told, r)
			return relay.SwitchReply{Unknown: []string{"ACME"}}, nil
		}}
	lines := func() int { return strings.Count(log.String(), "\n") }
	for range 3 {
		r.look(t.Context())
	}
	require.Empty(t, told, "nothing is told of what was not read")
	require.Equal(t, 1, lines(), log.String())
	require.InDelta(t, 3, count(looks, "denied"), 0)
	require.Zero(t, count(last, ""))
	refused = errors.New("another")
	r.look(t.Context())
	require.Equal(t, 2, lines(), log.String())
	refused = nil
	for range 3 {
		r.look(t.Context())
	}
	require.Equal(t, 4, lines(), "well again, and the unknown organization: %s", log.String())
	require.Len(t, told, 3)
	require.InDelta(t, 3, count(looks, "read"), 0)
	require.NotZero(t, count(last, ""))
}

func TestWhatTheSwitchNeeds(t *testing.T) {
	for yaml, want := range map[string][]string{
		"switch: {by: nobody}\n":                                {`switch.by is "nobody"; choose one of foreman manual`},
		"switch: {interval: 10ms}\n":                            {"switch.interval is 10ms; it must be from 1s to 24h0m0s"},
		"foreman: {url: https://x}\nswitch: {by: foreman}\n":    {"give smart_proxy.name", "give switch.credentials"},
		"switch: {by: foreman, credentials: /nowhere/at/all}\n": {"switch.credentials /nowhere/at/all"},
	} {
		_, errs, code := cli(t, "config", "check", "--config", writeFile(t, yaml))
		require.Equal(t, exitUsage, code, yaml)
		for _, w := range want {
			require.Contains(t, errs, w, yaml)
		}
	}
	_, errs, code := cli(t, "config", "check", "--config", writeFile(t, "switch: {by: foreman}\n"))
	require.Zero(t, code, "an edge alone needs nothing: %s", errs)
}

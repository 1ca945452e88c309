package broker_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/cmd/pki"
	"github.com/theforeman/foreman-relay/relay"
)

// listening opens a broker with a port, and returns it with the directory of
// its certificates.
func listening(t *testing.T, queues ...relay.Queue) (*broker.Broker, string) {
	t.Helper()
	return listeningWith(t, func(o *broker.Options) { o.Queues = append(o.Queues, queues...) })
}

func listeningWith(t *testing.T, change func(*broker.Options)) (*broker.Broker, string) {
	t.Helper()
	certs := filepath.Join(t.TempDir(), "pki")
	_, err := pki.Init(certs, pki.Options{Now: time.Now()})
	require.NoError(t, err)
	b := open(t, stateDir(t), func(o *broker.Options) {
		change(o)
		o.Listen = &broker.ListenOptions{Address: "127.0.0.1:0", CertFile: filepath.Join(certs, "edge.crt"),
			KeyFile: filepath.Join(certs, "edge.key"), ClientCAFile: filepath.Join(certs, "ca.crt")}
	})
	return b, certs
}

func dial(t *testing.T, b *broker.Broker, certs, name string) *broker.Channel {
	t.Helper()
	return dialAt(t, b.Address(), certs, name)
}

func dialAt(t *testing.T, address, certs, name string) *broker.Channel {
	t.Helper()
	c, err := broker.Dial(broker.DialOptions{URL: "tls://" + address, Destination: queue.Destination,
		CAFile: filepath.Join(certs, "ca.crt"), CertFile: filepath.Join(certs, name+".crt"), KeyFile: filepath.Join(certs, name+".key"),
		Log: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.ErrorLevel)})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func TestAFarDrainDelivers(t *testing.T) {
	b, certs := listening(t)
	for i := range 300 {
		accept(t, b, message(fmt.Sprint("host", i%7), "", fmt.Sprint(i)))
	}
	d := newDestination(delivered)
	runDrain(t, dial(t, b, certs, "drain"), d, nil)
	s := status(t, b, settled)
	require.EqualValues(t, 300, s.Delivered)
	require.Len(t, d.bodies(), 300)
	balanced(t, b)
}

// Two drains compete: the second stands by while the first holds the lease, and
// goes on at once when it gives it back.
func TestASecondDrainStandsByAndTakesOver(t *testing.T) {
	t.Parallel()
	b, certs := listening(t)
	first, second := newDestination(delivered), newDestination(delivered)
	stop := runDrain(t, dial(t, b, certs, "drain"), first, func(o *relay.DrainOptions) { o.Instance = "one" })
	status(t, b, func(s relay.QueueStatus) bool { return s.Drain == "one" })
	runDrain(t, dial(t, b, certs, "drain"), second, func(o *relay.DrainOptions) { o.Instance = "two" })
	for i := range 20 {
		accept(t, b, message("host", "", fmt.Sprint(i)))
	}
	status(t, b, settled)
	require.Len(t, first.bodies(), 20)
	require.Empty(t, second.bodies())
	stop()
	accept(t, b, message("host", "", "last"))
	s := status(t, b, settled)
	require.Equal(t, []string{"last"}, second.bodies())
	require.Equal(t, "two", s.Drain)
	balanced(t, b)
}

// A far drain asks what is newest over its narrow channel, and one that takes over
// goes on: nothing old is delivered by either, and each message is settled once.
func TestADrainThatTakesOverDeliversNothingOld(t *testing.T) {
	t.Parallel()
	const hosts, each = 20, 10
	b, certs := listeningWith(t, latestFacts)
	one := newHeld()
	stop := runDrain(t, dial(t, b, certs, "drain"), one, func(o *relay.DrainOptions) { compacting(o); o.Instance = "one" })
	accept(t, b, facts("first", "00"))
	status(t, b, func(s relay.QueueStatus) bool { return s.Drain == "one" && s.Breaker == "open" })
	two := newDestination(delivered)
	runDrain(t, dial(t, b, certs, "drain"), two, func(o *relay.DrainOptions) { compacting(o); o.Instance = "two" })
	accept(t, b, facts("first", "09"))
	status(t, b, func(s relay.QueueStatus) bool { return s.Superseded == 1 })
	for i := range each {
		for h := range hosts {
			accept(t, b, facts(fmt.Sprint("host", h), fmt.Sprintf("%02d", i)))
		}
	}
	require.Empty(t, two.bodies())
	stop()
	s := status(t, b, settled)
	require.Equal(t, []any{"two", uint64(hosts + 1), uint64(hosts*(each-1) + 1)}, []any{s.Drain, s.Delivered, s.Superseded})
	for _, body := range two.bodies() {
		require.Equal(t, "09", body)
	}
	require.Zero(t, balanced(t, b).SettledTwice)
}

// The embedded server calls its logger's Fatalf when it cannot listen; the
// process lives on, and the start is refused with the reason.
func TestABrokerPortInUseIsAnError(t *testing.T) {
	b, certs := listening(t)
	start := time.Now()
	_, err := broker.Open(t.Context(), broker.Options{StateDir: stateDir(t), Queues: []relay.Queue{queue}, Log: zerolog.Nop(),
		Listen: &broker.ListenOptions{Address: b.Address(), CertFile: filepath.Join(certs, "edge.crt"),
			KeyFile: filepath.Join(certs, "edge.key"), ClientCAFile: filepath.Join(certs, "ca.crt")}})
	require.ErrorContains(t, err, "--broker-listen")
	require.Less(t, time.Since(start), 30*time.Second)
}

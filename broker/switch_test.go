package broker_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

func switched(o *broker.Options) { o.Switch = &broker.SwitchOptions{} }

func assigned(all ...relay.Assignment) relay.SwitchReport {
	return relay.SwitchReport{Proxy: "edge1", Assigned: append([]relay.Assignment{}, all...)}
}

// report tells the edge as a drain does; a far one may not be connected yet.
func report(t *testing.T, c *broker.Channel, r relay.SwitchReport) relay.SwitchReply {
	t.Helper()
	require.Eventually(t, broker.Conn(c).IsConnected, 5*time.Second, 5*time.Millisecond)
	done, err := c.Switch(t.Context(), r)
	require.NoError(t, err)
	return done
}

// The same in this process and far away: what is assigned is on, what is not is
// off, and an operator's word stands.
func TestForemanSwitchesOrganizations(t *testing.T) {
	b, certs := listeningWith(t, switched)
	near, err := b.Connect(queue.Destination)
	require.NoError(t, err)
	t.Cleanup(near.Close)
	far := dial(t, b, certs, "drain")
	for _, name := range []string{"ACME", "ACME/R & D"} {
		putOrganization(t, b, relay.Organization{Name: name, Enabled: true, ChangedBy: relay.ChangedByConfiguration}, 0)
	}
	acme, science := relay.Assignment{ID: 3, Title: "ACME"}, relay.Assignment{ID: 4, Title: "ACME/R & D"}
	for _, c := range []*broker.Channel{near, far} {
		require.Equal(t, relay.SwitchReply{Disabled: []string{"ACME/R & D"}}, report(t, c, assigned(acme)))
		o, ok := b.KnownOrganization("ACME/R & D")
		require.True(t, ok)
		require.False(t, o.Enabled)
		require.Equal(t, []string{relay.ChangedByForeman, `the smart proxy "edge1" is not assigned to it in Foreman`}, []string{o.ChangedBy, o.Why})
		require.Equal(t, relay.SwitchReply{Enabled: []string{"ACME/R & D"}, Unknown: []string{"New"}},
			report(t, c, assigned(acme, science, relay.Assignment{ID: 5, Title: "New"})))
		require.Equal(t, relay.SwitchReply{}, report(t, c, assigned(acme, science)))
	}
	o, revision, err := b.Organization(t.Context(), "ACME")
	require.NoError(t, err)
	require.EqualValues(t, 3, o.ForemanID)
	o.Enabled, o.ChangedBy = false, relay.ChangedByOperator
	putOrganization(t, b, o, revision)
	require.Equal(t, relay.SwitchReply{}, report(t, far, assigned(acme, science)))
	_, known := b.KnownOrganization("New")
	require.False(t, known)
}

func TestForemanMakesOrganizations(t *testing.T) {
	b := open(t, stateDir(t), func(o *broker.Options) { o.Switch = &broker.SwitchOptions{Create: true} })
	c, err := b.Connect(queue.Destination)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	fresh := relay.Assignment{ID: 5, Title: "New/One"}
	require.Equal(t, relay.SwitchReply{Made: []string{"New/One"}}, report(t, c, assigned(fresh)))
	o, known := b.KnownOrganization("New/One")
	require.True(t, known)
	require.True(t, o.Enabled)
	require.Equal(t, relay.SwitchReply{}, report(t, c, assigned(fresh)))
	require.Equal(t, relay.SwitchReply{Disabled: []string{"New/One"}}, report(t, c, assigned()))
}

// Reports that nobody may act upon change nothing, and say why.
func TestReportsThatTheEdgeRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*broker.Options)
		report relay.SwitchReport
		says   string
	}{
		"switched by hand": {nil, assigned(), "switch.by is manual"},
		"no list":          {switched, relay.SwitchReport{Proxy: "edge1"}, "no list of organizations"},
		"no proxy":         {switched, relay.SwitchReport{Assigned: []relay.Assignment{}}, "names no smart proxy"},
	} {
		b := open(t, stateDir(t), c.change)
		putOrganization(t, b, relay.Organization{Name: "ACME", Enabled: true}, 0)
		channel, err := b.Connect(queue.Destination)
		require.NoError(t, err)
		_, err = channel.Switch(t.Context(), c.report)
		require.ErrorContains(t, err, c.says, name)
		o, _ := b.KnownOrganization("ACME")
		require.True(t, o.Enabled, name)
		channel.Close()
		b.Close()
	}
}

// A drain of another destination has nothing to say about organizations.
func TestOnlyForemansDrainSwitches(t *testing.T) {
	b := open(t, stateDir(t), func(o *broker.Options) {
		switched(o)
		o.Queues = append(o.Queues, relay.Queue{Organization: "ACME", Destination: "hook"})
	})
	c, err := b.Connect("hook")
	require.NoError(t, err)
	t.Cleanup(c.Close)
	denied := make(chan error, 8)
	broker.Conn(c).SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err })
	for _, destination := range []string{"hook", relay.ForemanDestination} {
		require.NoError(t, broker.Conn(c).PublishRequest("relay-drain."+destination+".switch", broker.Conn(c).NewInbox(), []byte(`{"proxy":"edge1","assigned":[]}`)))
		select {
		case err := <-denied:
			require.ErrorContains(t, err, "Permissions Violation for Publish to \"relay-drain."+destination+".switch\"")
		case <-time.After(5 * time.Second):
			require.Fail(t, "it was not denied", destination)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = c.Switch(ctx, assigned())
	require.Error(t, err)
	o, _ := b.KnownOrganization("ACME")
	require.True(t, o.Enabled)
}

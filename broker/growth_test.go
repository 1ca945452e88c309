package broker_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

// messageFor is a message of an organization.
func messageFor(organization, host, body string) *relay.Message {
	m := message(host, "", body)
	m.Queue = relay.Queue{Organization: organization, Destination: queue.Destination}
	m.ID = relay.FreshID(m.Queue)
	return m
}

func (d *destination) await(t *testing.T, n int) []string {
	t.Helper()
	for end := time.After(30 * time.Second); len(d.bodies()) < n; {
		select {
		case <-d.more:
		case <-end:
			require.FailNow(t, "too few deliveries", "%d of %d", len(d.bodies()), n)
		}
	}
	return d.bodies()
}

// An organization that is made while everything runs has its queue at once: for
// the door, for a drain in this process and for one far away, and after a restart.
// Nothing of the others is lost or delivered twice meanwhile.
func TestAnOrganizationIsMadeAtRunTime(t *testing.T) {
	for name, far := range map[string]bool{"near": false, "far": true} {
		t.Run(name, func(t *testing.T) {
			b, certs := listening(t)
			d := newDestination(delivered)
			channel, err := b.Connect(queue.Destination)
			require.NoError(t, err)
			t.Cleanup(channel.Close)
			if far {
				channel = dial(t, b, certs, "drain")
			}
			runDrain(t, channel, d, nil)
			_, err = b.Accept(t.Context(), messageFor("ACME", "h", "too early"))
			require.Equal(t, relay.CodeNotFound, relay.CodeOf(err))

			const organizations, each = 4, 100
			var load sync.WaitGroup
			load.Go(func() {
				for i := range organizations * each {
					if _, err := b.Accept(t.Context(), message(fmt.Sprint("host", i%7), "", fmt.Sprint("default ", i))); err != nil {
						t.Error(err)
					}
				}
			})
			for n := range organizations {
				organization := fmt.Sprint("ACME/R & D ", n)
				putOrganization(t, b, relay.Organization{Name: organization, Enabled: true}, 0)
				for i := range each {
					accept(t, b, messageFor(organization, "h", fmt.Sprint(organization, i)))
				}
			}
			load.Wait()
			got := d.await(t, 2*organizations*each)
			slices.Sort(got)
			require.Len(t, slices.Compact(got), 2*organizations*each)
			settledAll(t, b)
			require.Len(t, d.bodies(), 2*organizations*each)
			require.Zero(t, broker.Reconnects(channel))
		})
	}
}

// settledAll waits until nothing is pending in any queue, and audits all.
func settledAll(t *testing.T, b *broker.Broker) {
	t.Helper()
	all, err := b.Queues(t.Context())
	require.NoError(t, err)
	for _, q := range all {
		at := relay.Queue{Organization: q.Organization, Destination: q.Destination}
		require.Eventually(t, func() bool {
			s, err := b.Queue(t.Context(), at)
			return err == nil && s.Pending == 0
		}, 30*time.Second, 10*time.Millisecond)
	}
	reports, err := b.Audit(t.Context(), relay.AuditOptions{})
	require.NoError(t, err)
	require.Len(t, reports, len(all))
	for _, r := range reports {
		require.Empty(t, r.Findings)
		require.True(t, r.Balanced)
	}
}

func TestQueuesThatWereMadeAreThereAfterARestart(t *testing.T) {
	dir := stateDir(t)
	b := open(t, dir, nil)
	putOrganization(t, b, relay.Organization{Name: "ACME", Enabled: true}, 0)
	receipt := accept(t, b, messageFor("ACME", "h", "kept"))
	b.Close()

	b = open(t, dir, nil)
	s, err := b.Message(t.Context(), receipt.ID)
	require.NoError(t, err)
	require.Equal(t, relay.Queued, s.State)
	accept(t, b, messageFor("ACME", "h", "later"))
	d := newDestination(delivered)
	drain(t, b, d, nil)
	require.Equal(t, []string{"kept", "later"}, d.await(t, 2))
	settledAll(t, b)
}

// A queue whose organization the configuration does not name any more is taken up
// with what waits in it.
func TestWhatWaitsInAQueueIsFoundWhenItsOrganizationIsMadeAgain(t *testing.T) {
	dir := stateDir(t)
	b := open(t, dir, func(o *broker.Options) {
		o.Queues = append(o.Queues, relay.Queue{Organization: "ACME", Destination: queue.Destination})
	})
	accept(t, b, messageFor("ACME", "h", "kept"))
	require.NoError(t, broker.ForgetOrganization(t.Context(), b, "ACME"))
	b.Close()

	b = open(t, dir, nil)
	_, err := b.Accept(t.Context(), messageFor("ACME", "h", "too early"))
	require.Equal(t, relay.CodeNotFound, relay.CodeOf(err))
	d := newDestination(delivered)
	drain(t, b, d, nil)
	putOrganization(t, b, relay.Organization{Name: "ACME", Enabled: true}, 0)
	accept(t, b, messageFor("ACME", "h", "later"))
	require.Equal(t, []string{"kept", "later"}, d.await(t, 2))
	settledAll(t, b)
}

// While permissions are read again who is about to connect is turned away: that must
// not be the end of a connection of this process, however often it happens.
func TestNoConnectionIsGivenUpForARefusal(t *testing.T) {
	b := open(t, stateDir(t), nil)
	c, err := b.Connect(queue.Destination)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	for _, nc := range []*nats.Conn{broker.EdgeConn(b), broker.DoorConn(b), broker.Conn(c)} {
		require.True(t, nc.Opts.IgnoreAuthErrorAbort)
	}
}

func TestNothingGrowsAfterTheEnd(t *testing.T) {
	b := open(t, stateDir(t), nil)
	b.Close()
	_, err := b.PutOrganization(t.Context(), relay.Organization{Name: "ACME"}, 0)
	require.Equal(t, relay.CodeUnavailable, relay.CodeOf(err))
}

// The weight of an organization comes with the lease, whenever it is changed.
func TestTheWeightOfAnOrganizationIsTold(t *testing.T) {
	b := open(t, stateDir(t), nil)
	c, err := b.Connect(queue.Destination)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	revision := uint64(0)
	for _, weight := range []int{3, 5, 0} {
		revision = putOrganization(t, b, relay.Organization{Name: "ACME", Enabled: true, Weight: weight}, revision)
		select {
		case <-c.Nudged():
		case <-time.After(10 * time.Second):
			require.FailNow(t, "the drain was not asked to renew")
		}
		reply, err := c.Lease(t.Context(), relay.LeaseRequest{Instance: "here", Session: "one"})
		require.NoError(t, err)
		told := map[string]int{}
		for _, g := range reply.Grants {
			told[g.Queue.Organization] = g.Weight
		}
		require.Equal(t, map[string]int{"ACME": weight, relay.DefaultOrganization: 0}, told)
	}
}

// When the store is started anew, drains may still do with the new queues what
// they could; what was stored without our knowing is found, then or by the next
// who tries.
func TestNewQueuesOutliveAStartOfTheStore(t *testing.T) {
	b, certs := listening(t)
	d := newDestination(delivered)
	runDrain(t, dial(t, b, certs, "drain"), d, nil)
	made := func(name string) relay.Organization { return relay.Organization{Name: name, Enabled: true} }
	putOrganization(t, b, made("A"), 0)
	require.NoError(t, broker.WriteOrganization(t.Context(), b, made("B")))
	_, err := b.PutOrganization(t.Context(), made("B"), 0)
	require.Equal(t, relay.CodeConflict, relay.CodeOf(err), "%v", err)
	_, revision, err := b.Organization(t.Context(), "B")
	require.NoError(t, err)
	require.Positive(t, revision)
	require.NoError(t, broker.WriteOrganization(t.Context(), b, made("C")))

	broker.FallIll(b)
	_, err = b.PutOrganization(t.Context(), made("D"), 0)
	require.Equal(t, relay.CodeStorageFull, relay.CodeOf(err), "%v", err)
	require.Eventually(t, func() bool { return b.Storage().Restarts == 1 }, 30*time.Second, 10*time.Millisecond)
	putOrganization(t, b, made("D"), 0)
	for _, name := range []string{"A", "B", "C", "D"} {
		accept(t, b, messageFor(name, "h", name))
	}
	got := slices.Clone(d.await(t, 4))
	slices.Sort(got)
	require.Equal(t, []string{"A", "B", "C", "D"}, got)
	settledAll(t, b)
}

// A drain may do with the new queues of its destination what it could with the
// old ones, and no more: not with another destination's, nor with what is known of
// the organizations.
func TestNewQueuesGiveADrainNothingElse(t *testing.T) {
	b, certs := listening(t, relay.Queue{Organization: relay.DefaultOrganization, Destination: "elsewhere"})
	near, err := b.Connect(queue.Destination)
	require.NoError(t, err)
	t.Cleanup(near.Close)
	for name, c := range map[string]*broker.Channel{"near": near, "far": dial(t, b, certs, "drain")} {
		nc := broker.Conn(c)
		require.Eventually(t, nc.IsConnected, 5*time.Second, 5*time.Millisecond)
		violations := make(chan error, 16)
		nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { violations <- err })
		putOrganization(t, b, relay.Organization{Name: name, Enabled: true}, 0)
		mine, theirs := relay.Queue{Organization: name, Destination: queue.Destination}, relay.Queue{Organization: name, Destination: "elsewhere"}
		accept(t, b, messageFor(name, "h", "x"))
		answer, err := nc.Request("$JS.API.DIRECT.GET."+broker.JournalStream(mine), []byte(`{"seq":1}`), 5*time.Second)
		require.NoError(t, err)
		require.Equal(t, "x", string(answer.Data))
		for _, subject := range []string{"$JS.API.DIRECT.GET." + broker.JournalStream(theirs), "$JS.API.STREAM.INFO." + broker.JournalStream(mine),
			"$JS.API.DIRECT.GET.KV_relay", "$JS.API.DIRECT.GET.KV_relay.$KV.relay.organization.x", "$KV.relay.organization.x", "relay." + mine.Token() + ".id.lane.message"} {
			require.NoError(t, nc.PublishRequest(subject, nc.NewInbox(), nil))
			require.NoError(t, nc.Flush())
			require.ErrorContains(t, <-violations, "Permissions Violation for Publish to \""+subject+"\"")
		}
	}
}

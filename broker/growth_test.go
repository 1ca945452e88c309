package broker_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

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
			if far {
				runDrain(t, dial(t, b, certs, "drain"), d, nil)
			} else {
				drain(t, b, d, nil)
			}
			_, err := b.Accept(t.Context(), messageFor("ACME", "h", "too early"))
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

func TestNothingGrowsAfterTheEnd(t *testing.T) {
	b := open(t, stateDir(t), nil)
	b.Close()
	_, err := b.PutOrganization(t.Context(), relay.Organization{Name: "ACME"}, 0)
	require.Equal(t, relay.CodeUnavailable, relay.CodeOf(err))
}

package broker_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

// What is queued for an organization that is off waits or is delivered, as
// configured; others are not touched, and it goes on when it is on again.
func TestQueuesOfAnOrganizationThatIsOff(t *testing.T) {
	for _, way := range broker.OffChoices() {
		t.Run(string(way), func(t *testing.T) {
			b := open(t, stateDir(t), func(o *broker.Options) { o.OffQueues = way })
			revision := putOrganization(t, b, relay.Organization{Name: "ACME", Why: "not paid", ChangedBy: relay.ChangedByForeman}, 0)
			acme := relay.Queue{Organization: "ACME", Destination: queue.Destination}
			accept(t, b, messageFor("ACME", "h", "of ACME"))
			d := newDestination(delivered)
			drain(t, b, d, nil)
			if way == broker.OffDrain {
				require.Equal(t, []string{"of ACME"}, d.await(t, 1))
				s, err := b.Queue(t.Context(), acme)
				require.NoError(t, err)
				require.False(t, s.Paused)
				return
			}
			accept(t, b, message("h", "", "of default"))
			require.Equal(t, []string{"of default"}, d.await(t, 1))
			status(t, b, settled)
			require.Eventually(t, func() bool { return drained(t, b, acme) }, 20*time.Second, 5*time.Millisecond)
			s, err := b.Queue(t.Context(), acme)
			require.NoError(t, err)
			require.EqualValues(t, 1, s.Pending)
			require.True(t, s.Paused)
			require.Equal(t, relay.ChangedByForeman, s.Pause.By)
			require.Equal(t, "the organization is off: not paid", s.Pause.Reason)
			require.Len(t, d.bodies(), 1)

			revision = putOrganization(t, b, relay.Organization{Name: "ACME", Enabled: true}, revision)
			require.Equal(t, []string{"of default", "of ACME"}, d.await(t, 2))

			putOrganization(t, b, relay.Organization{Name: "ACME"}, revision)
			accept(t, b, message("h", "", "of default again"))
			require.Equal(t, "of default again", d.await(t, 3)[2])
		})
	}
}

func drained(t *testing.T, b *broker.Broker, q relay.Queue) bool {
	t.Helper()
	s, err := b.Queue(t.Context(), q)
	require.NoError(t, err)
	return s.Drain != ""
}

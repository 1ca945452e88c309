package broker_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// A message that its route needs no more becomes a dead letter without a try, by
// a reason of its own; the others go on. What travels beside the body is there
// still, in the letter's second life too.
func TestAnExpiredMessageIsNotTried(t *testing.T) {
	b := open(t, stateDir(t), nil)
	late := message("host", "", "late")
	late.Route = "callback"
	late.Header = map[string]string{"X-Forwarded-For": "192.0.2.1"}
	letter := accept(t, b, late)
	accept(t, b, message("host", "", "in time"))
	d := newDestination(delivered)
	stop := drain(t, b, d, func(o *relay.DrainOptions) {
		general := o.Policy
		o.Policy = func(route string) relay.Policy {
			if route == "callback" {
				return general(route).Expiring(time.Nanosecond)
			}
			return general(route)
		}
	})
	s := status(t, b, settled)
	require.Equal(t, []uint64{1, 1}, []uint64{s.Dead, s.Delivered})
	require.Equal(t, []string{"in time"}, d.bodies())
	l, err := b.DeadLetter(t.Context(), letter.ID)
	require.NoError(t, err)
	require.Equal(t, []any{relay.ReasonExpired, 0}, []any{l.Reason, l.Attempts})
	balanced(t, b)

	stop()
	drain(t, b, d, nil)
	_, err = b.Replay(t.Context(), letter.ID, relay.Edit{})
	require.NoError(t, err)
	status(t, b, settled)
	require.Equal(t, []string{"in time", "late"}, d.bodies())
	require.Equal(t, late.Header, d.got[1].Header)
}

package broker_test

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// unanswered was sent, and no answer came.
var unanswered = relay.Result{Class: relay.ClassUnavailable, Confirmed: relay.ClassTransient, Reason: relay.ReasonTimeout, Ambiguous: true}

// An attempt of which nobody knows what came of it is told apart in the events:
// one that counts, one in an outage, which does not, and one whose route is not
// tried again then.
func TestAnAmbiguousAttemptIsToldApart(t *testing.T) {
	for name, c := range map[string]struct {
		outage, once bool
		state        relay.State
		reason       string
		sent         int
		attempts     int
		events       []bool // ambiguous
	}{
		"tried again":               {false, false, relay.Delivered, "", 2, 2, []bool{true, false}},
		"tried again, in an outage": {true, false, relay.Delivered, "", 2, 1, []bool{true, false}},
		"given up":                  {false, true, relay.Dead, relay.ReasonAmbiguous, 1, 1, []bool{true}},
		"given up, in an outage":    {true, true, relay.Dead, relay.ReasonAmbiguous, 1, 1, []bool{true}},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, stateDir(t), nil)
			d := newDestination(func(n int, m *relay.Message) relay.Result {
				if n == 1 {
					return unanswered
				}
				return delivered(n, m)
			})
			var probes atomic.Int32
			d.probe = func() error {
				if c.outage && probes.Add(1) == 1 {
					return errors.New("nobody there")
				}
				return nil
			}
			drain(t, b, d, func(o *relay.DrainOptions) {
				if c.once {
					policy := o.Policy("").Once()
					o.Policy = func(string) relay.Policy { return policy }
				}
			})
			r := accept(t, b, message("host", "k", "body"))
			status(t, b, settled)
			m, err := b.Message(t.Context(), r.ID)
			require.NoError(t, err)
			require.Equal(t, []any{c.state, c.reason, c.attempts, 1}, []any{m.State, m.Reason, m.Attempts, m.Ambiguous})
			var events []bool
			for _, e := range m.Events {
				events = append(events, e.Ambiguous)
			}
			require.Equal(t, c.events, events)
			require.Len(t, d.bodies(), c.sent)
			balanced(t, b)
		})
	}
}

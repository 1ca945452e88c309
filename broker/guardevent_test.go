package broker_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

// What a drain's certificate records stays when the certificate is revoked. So it
// records nothing that a drain does not: else messages that are yet to come would
// pass for delivered, the next start would fill a journal up to any number, and the
// events of those that drain afterwards would not count.
func TestADrainRecordsOnlyWhatADrainDoes(t *testing.T) {
	g := newGuarded(t)
	m := message("host", "", "mine")
	accept(t, g.Broker, m)
	theirs := relay.FreshID(elsewhere)
	event := func(id string) relay.Event {
		return relay.Event{Sequence: 1, ID: id, State: relay.Waiting, Attempt: 1, Reason: relay.ReasonNotReady, Epoch: 1, Run: 1}
	}
	say := func(subject string, e relay.Event) string {
		text, err := e.Encode()
		require.NoError(t, err)
		return fmt.Sprintf("PUB %s %d\r\n%s\r\n", subject, len(text), text)
	}
	changed := func(f func(e *relay.Event)) string {
		e := event(m.ID)
		f(&e)
		return say(broker.EventSubject(queue, e.ID), e)
	}
	before, err := broker.Events(t.Context(), g.Broker, queue.Destination)
	require.NoError(t, err)
	header := "NATS/1.0\r\nRelay-X: " + strings.Repeat("x", 60<<10) + "\r\n\r\n"
	far, err := func() ([]byte, error) { e := event(m.ID); e.Sequence = 2; return e.Encode() }()
	require.NoError(t, err)
	for name, said := range map[string]string{
		"a message that is yet to come": changed(func(e *relay.Event) { e.Sequence, e.State = 2, relay.Delivered }),
		"of any time":                   changed(func(e *relay.Event) { e.Sequence, e.State, e.Run = math.MaxUint64, relay.Delivered, 0 }),
		"of a run to come":              changed(func(e *relay.Event) { e.Sequence, e.Run = 2, 99 }),
		"behind a header":               fmt.Sprintf("HPUB %s %d %d\r\n%s%s\r\n", broker.EventSubject(queue, m.ID), len(header), len(header)+len(far), header, far),
		"the beginning of a run":        changed(func(e *relay.Event) { e.State, e.Run = relay.Started, math.MaxUint64 }),
		"what the edge says":            changed(func(e *relay.Event) { e.State, e.Epoch = relay.Discarded, 0 }),
		"of another's message":          changed(func(e *relay.Event) { e.ID = theirs }),
		"of no message":                 changed(func(e *relay.Event) { e.ID = "a b" }),
		"in another bucket":             say(broker.EventSubject(queue, m.ID)+"0", event(m.ID)),
		"in another queue":              say(strings.Replace(broker.EventSubject(queue, m.ID), queue.Token(), elsewhere.Token(), 1), event(m.ID)),
		"everywhere":                    say("relay-event.foreman.*.*", event(m.ID)),
		"of no queue":                   say("relay-event.foreman.x.1", event(m.ID)),
		"no event":                      "PUB " + broker.EventSubject(queue, m.ID) + " 2\r\n{}\r\n",
		"a large one":                   changed(func(e *relay.Event) { e.Detail = strings.Repeat("x", 16<<10) }),
	} {
		t.Run(name, func(t *testing.T) {
			r := g.raw(t, "CONNECT {}")
			require.Equal(t, "PONG", r.line())
			r.say(said + "PING\r\n")
			require.Empty(t, r.line(), "it is cut off")
		})
	}
	r := g.raw(t, "CONNECT {}")
	require.Equal(t, "PONG", r.line())
	r.say(changed(func(*relay.Event) {}) + "PING\r\n")
	require.Equal(t, "PONG", r.line(), "the event that the others differ from")
	require.NoError(t, broker.EdgeConn(g.Broker).Flush())
	after, err := broker.Events(t.Context(), g.Broker, queue.Destination)
	require.NoError(t, err)
	require.Equal(t, before+1, after)
}

// So long as a drain says that its attempts take, whoever comes after it waits: the
// edge believes no number.
func TestHowLongAttemptsTakeIsBounded(t *testing.T) {
	b, certs := listening(t)
	c := dial(t, b, certs, "drain")
	require.Eventually(t, broker.Conn(c).IsConnected, 5*time.Second, 5*time.Millisecond)
	for _, longest := range []time.Duration{-1, time.Hour + 1, math.MaxInt64} {
		_, err := c.Lease(t.Context(), relay.LeaseRequest{Instance: "old", Session: "1", LongestAttempt: longest})
		require.ErrorContains(t, err, "an attempt must not take longer than 1h0m0s")
	}
	_, err := c.Lease(t.Context(), relay.LeaseRequest{Instance: strings.Repeat("x", 256), Session: "1"})
	require.ErrorContains(t, err, "255 bytes at most")
	answer, err := c.Lease(t.Context(), relay.LeaseRequest{Instance: "new", Session: "2"})
	require.NoError(t, err)
	require.True(t, answer.Grants[0].Granted)
	require.Zero(t, answer.Grants[0].Wait)
}

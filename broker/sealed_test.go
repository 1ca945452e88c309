package broker_test

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
	"github.com/theforeman/foreman-relay/relay/seal"
)

func ring(t *testing.T) *seal.Keyring {
	t.Helper()
	r, err := seal.OpenKeyring(filepath.Join(t.TempDir(), "keys"), time.Now, zerolog.Nop())
	require.NoError(t, err)
	return r
}

func sealerOf(b *broker.Broker) *seal.Sealer {
	return seal.NewSealer(seal.SealerOptions{Recipients: b.Recipients, Blind: b.Blind,
		Covers: func(context.Context, string) (bool, error) { return true, nil }})
}

// tell has a drain of this name tell its keys, as it does with every renewal.
func tell(t *testing.T, c *broker.Channel, instance string, recipients ...string) {
	t.Helper()
	_, err := c.Lease(t.Context(), relay.LeaseRequest{Instance: instance, Session: instance, Recipients: recipients})
	require.NoError(t, err)
}

// known waits until the edge knows so many keys: it takes them after its answer.
func known(t *testing.T, b *broker.Broker, want ...string) {
	t.Helper()
	require.Eventually(t, func() bool { return fmt.Sprint(b.Recipients(queue.Destination)) == fmt.Sprint(want) }, 10*time.Second, time.Millisecond,
		"want %v", want)
}

// The keys of the drains outlive the drains and the edge; who tells another one
// replaces its own, and what is no key takes no lease from anybody.
func TestTheKeysOfDrainsAreKept(t *testing.T) {
	dir := stateDir(t)
	b := open(t, dir, nil)
	c, err := b.Connect(queue.Destination)
	require.NoError(t, err)
	require.Empty(t, b.Recipients(queue.Destination))
	tell(t, c, "one", "age1one")
	known(t, b, "age1one")
	tell(t, c, "two", "age1two")
	known(t, b, "age1two", "age1one")
	tell(t, c, "two") // one that has none says nothing of it
	tell(t, c, "bad", "no key")
	tell(t, c, "one", "age1other")
	known(t, b, "age1other", "age1two")
	for i := range relay.MaxRecipients + 3 {
		tell(t, c, fmt.Sprint("many", i), fmt.Sprint("age1many", i))
	}
	require.Eventually(t, func() bool { return b.Recipients(queue.Destination)[0] == "age1many10" }, 10*time.Second, time.Millisecond)
	all := b.Recipients(queue.Destination)
	require.Len(t, all, relay.MaxRecipients)
	c.Close()
	b.Close()

	b = open(t, dir, nil)
	require.Equal(t, all, b.Recipients(queue.Destination))
}

// A drain that tells many keys leaves room for those of the others.
func TestADrainDoesNotPushOutTheKeysOfOthers(t *testing.T) {
	b := open(t, stateDir(t), nil)
	c, err := b.Connect(queue.Destination)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	tell(t, c, "one", "age1one")
	known(t, b, "age1one")
	var many []string
	for i := range relay.MaxRecipients {
		many = append(many, fmt.Sprint("age1many", i))
	}
	tell(t, c, "two", many...)
	require.Eventually(t, func() bool { return len(b.Recipients(queue.Destination)) > 1 }, 10*time.Second, time.Millisecond)
	require.Equal(t, append([]string{"age1many0", "age1one"}, many[1:relay.MaxRecipients-1]...), b.Recipients(queue.Destination))
}

// sealedMessage is one whose body is sealed, whole or to come.
func sealedMessage(t *testing.T, b *broker.Broker, key, body string, comes bool) *relay.Message {
	t.Helper()
	m := message("host", key, body)
	if comes {
		m.Body, m.Digest, m.Size = nil, "", int64(len(body))
		m.Open = func(context.Context) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil }
	}
	require.NoError(t, sealerOf(b).SealBody(t.Context(), m))
	return m
}

// A key finds the body that it came with, sealed anew each time, sealed or not, in
// memory or while it comes, and after a restart of the edge.
func TestAKeyKnowsItsSealedBody(t *testing.T) {
	dir := stateDir(t)
	b := open(t, dir, nil)
	c, err := b.Connect(queue.Destination)
	require.NoError(t, err)
	current, _ := ring(t).Current()
	tell(t, c, "here", current.Recipient)
	known(t, b, current.Recipient)
	big := strings.Repeat("large ", 300_000)
	accept(t, b, sealedMessage(t, b, "small", "the body", false))
	accept(t, b, sealedMessage(t, b, "big", big, true))
	accept(t, b, message("host", "clear", "the body"))
	c.Close()
	b.Close()

	b = open(t, dir, nil)
	for _, again := range []*relay.Message{
		sealedMessage(t, b, "small", "the body", false), sealedMessage(t, b, "big", big, true),
		sealedMessage(t, b, "clear", "the body", false), message("host", "small", "the body"),
	} {
		r, err := b.Accept(t.Context(), again)
		require.NoError(t, err, again.Key)
		require.True(t, r.Replayed, again.Key)
	}
	for _, other := range []*relay.Message{
		sealedMessage(t, b, "small", "another", false), sealedMessage(t, b, "big", big+"!", true),
		sealedMessage(t, b, "clear", "another", false), message("host", "small", "another"),
	} {
		_, err := b.Accept(t.Context(), other)
		require.Equal(t, relay.CodeKeyConflict, relay.CodeOf(err), other.Key)
	}
	balanced(t, b)
}

// One that cannot be opened is a letter, whole; those beside and behind it in its
// lane are delivered.
func TestWhatCannotBeOpenedIsALetter(t *testing.T) {
	b := open(t, stateDir(t), nil)
	c, err := b.Connect(queue.Destination)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	keys, lost := ring(t), ring(t)
	tell(t, c, "here", lost.Recipients()...)
	known(t, b, lost.Recipients()...)
	unreadable := []*relay.Message{sealedMessage(t, b, "lost", "the body", false), sealedMessage(t, b, "", strings.Repeat("large ", 300_000), true)}
	tell(t, c, "here", keys.Recipients()...)
	known(t, b, keys.Recipients()...)
	changed := sealedMessage(t, b, "changed", "the body", false)
	changed.Body[len(changed.Body)-1] ^= 1
	changed.Digest = relay.DigestOf(changed.Body) // whoever changes one changes the other
	for _, m := range append(unreadable, changed, sealedMessage(t, b, "good", "a good one", false), sealedMessage(t, b, "", strings.Repeat("good ", 300_000), true)) {
		accept(t, b, m)
	}
	d := newDestination(delivered)
	runDrain(t, c, &seal.Destination{Destination: d, Keys: keys, Log: zerolog.Nop()}, func(o *relay.DrainOptions) { o.Recipients = keys.Recipients })
	s := status(t, b, settled)
	require.EqualValues(t, 2, s.Delivered)
	require.EqualValues(t, 3, s.Dead)
	letters, err := b.DeadLetters(t.Context(), relay.DeadLetterFilter{})
	require.NoError(t, err)
	require.Len(t, letters, 3)
	for _, l := range letters {
		require.Equal(t, relay.ReasonUndecryptable, l.Reason, l.Detail)
		require.LessOrEqual(t, l.Attempts, 1, "it is not tried again")
	}
	balanced(t, b)
}

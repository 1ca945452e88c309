package broker

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// An answer that was lost was not heeded: that the drain asks again is not enough.
func TestWhoIsToldHasToHeed(t *testing.T) {
	h := newHeed()
	h.tell("one", relay.TermDelivers, relay.TermEnded)
	h.tell("one", relay.TermDelivers, relay.TermEnded) // it asks again, and delivers still
	h.tell("one", relay.TermPaused, relay.TermEnded)
	require.False(t, h.over())
	h.tell("two", relay.TermEnded, relay.TermEnded)
	require.False(t, h.over(), "what it is told now may begin a term that was granted before")
	h.tell("two", relay.TermEnded, relay.TermEnded)
	require.True(t, h.over())

	old := newHeed()
	old.tell("one", "", relay.TermEnded)
	require.False(t, old.over())
	old.tell("one", "", relay.TermEnded)
	require.True(t, old.over(), "a drain of before does not say what it does")
}

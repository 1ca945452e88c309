package relay

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The pause for a message names it and what was answered, within the bounds of
// what an operator may say.
func TestThePauseForAMessage(t *testing.T) {
	at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	e := Event{ID: "the-id", State: Waiting, Status: 422, Reason: ReasonRejected, Detail: "no\x1b[2J", Recorded: at, Pause: true}
	require.Equal(t, Pause{At: at, By: ByPolicy, Reason: "message the-id will not be had: rejected, answer 422: no.[2J"}, PauseFor(e))
	e.Detail = strings.Repeat("ä", MaxDetail)
	p := PauseFor(e)
	_, err := NewPause(p.At, p.By, p.Reason)
	require.NoError(t, err)
}

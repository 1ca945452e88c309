package broker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
)

// A store that keeps messages back for a while does not end a walk: what would be
// overlooked is, for example, the newer fact that a replay must not overwrite.
func TestAWalkWaitsForASlowStore(t *testing.T) {
	b := open(t, stateDir(t), nil)
	const n = broker.WalkBatch + 3
	for i := range n {
		accept(t, b, message("host", "", fmt.Sprint(i)))
	}
	seen := 0
	require.NoError(t, broker.WalkPaused(t.Context(), b, queue, 300*time.Millisecond, func() { seen++ }))
	require.Equal(t, n, seen)
}

package cmd

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestASmallHeapMayGrowByTheHeadroom(t *testing.T) {
	for live, want := range map[uint64]int{0: 500, 1 << 20: 500, 32 << 20: 400, 128 << 20: 100, 1 << 40: 100} {
		require.Equal(t, want, gcPercent(live), "%d bytes live", live)
	}
}

func TestMemoryIsGivenBackOnceAfterABurst(t *testing.T) {
	var q quiet
	at := heap{live: 100 << 20, held: 400 << 20, allocated: 1 << 30}
	looks := func(n int, each uint64) (times int) {
		for range n {
			at.allocated += each
			if q.over(at) {
				times++
			}
		}
		return times
	}
	require.Zero(t, looks(10, quietRate), "in the middle of it")
	require.Zero(t, looks(quietLooks-1, 1000), "perhaps it goes on")
	require.Equal(t, 1, looks(100, 1000), "once")
	require.Zero(t, looks(1, quietRate))
	at.held = at.live + 1<<20
	require.Zero(t, looks(100, 1000), "there is nothing to give back")
}

// The limit is never met by what the heap may grow to anyway.
func TestTheMemoryLimitLeavesTheHeapItsRoom(t *testing.T) {
	const mib = 1 << 20
	for live, want := range map[uint64]int64{0: 176 * mib, 30 * mib: 176 * mib, 60 * mib: 208 * mib, 400 * mib: 848 * mib} {
		require.Equal(t, want, memoryLimit(live), "%d bytes live", live)
		require.Greater(t, memoryLimit(live), int64(live)*int64(100+gcPercent(max(live, 26*mib)))/100, "%d bytes live", live)
	}
}

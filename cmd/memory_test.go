package cmd

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestASmallHeapMayGrowByTheHeadroom(t *testing.T) {
	for live, want := range map[uint64]int{0: 1000, 1 << 20: 1000, 32 << 20: 400, 128 << 20: 100, 1 << 40: 100} {
		require.Equal(t, want, gcPercent(live), "%d bytes live", live)
	}
}

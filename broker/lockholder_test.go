package broker

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHolder(t *testing.T) {
	dir := t.TempDir()
	who, err := Holder(dir)
	require.NoError(t, err)
	require.Empty(t, who, "nobody ever was here")
	lock, err := LockDir(dir)
	require.NoError(t, err)
	who, err = Holder(dir)
	require.NoError(t, err)
	require.Contains(t, who, fmt.Sprintf("process %d", os.Getpid()))
	require.NoError(t, lock.Unlock())
	who, err = Holder(dir)
	require.NoError(t, err)
	require.Empty(t, who, "whoever was is gone, signed or not")
}

func TestFlocked(t *testing.T) {
	text := "1: POSIX  ADVISORY  WRITE 7 fe:00:131074 0 EOF\n2: FLOCK  ADVISORY  WRITE 8 fe:00:4711 0 EOF\n"
	require.True(t, flocked(text, 4711))
	require.False(t, flocked(text, 711), "a part of a number")
	require.False(t, flocked(text, 131074), "another kind of lock")
	require.False(t, flocked("garbage", 1))
}

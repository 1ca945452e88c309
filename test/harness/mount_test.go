package harness

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A mounted filesystem is as large as it was asked to be, for root too, and
// gone after the test that asked for it.
func TestMountIsBoundedAndGoesWithItsTest(t *testing.T) {
	for _, kind := range []string{"ext4", "tmpfs"} {
		t.Run(kind, func(t *testing.T) {
			var dir string
			t.Run("mounted", func(t *testing.T) {
				var reason string
				if dir, reason = Mount(t, kind, 16<<20, "noexec"); reason != "" {
					t.Skip("not shown: ", reason)
				}
				err := os.WriteFile(filepath.Join(dir, "large"), make([]byte, 17<<20), 0o600)
				require.True(t, errors.Is(err, syscall.ENOSPC), "%v", err)
				var st syscall.Statfs_t
				require.NoError(t, syscall.Statfs(dir, &st))
				require.NotZero(t, st.Flags&0x8, "ST_NOEXEC: the options are in force")
			})
			require.NoDirExists(t, dir)
		})
	}
}

func TestMountSaysWhyNot(t *testing.T) {
	dir, reason := Mount(t, "nonesuchfs", 16<<20, "")
	require.Empty(t, dir)
	require.NotEmpty(t, reason)
	t.Log(reason)
}

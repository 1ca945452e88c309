package relay

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestShellWord(t *testing.T) {
	for word, want := range map[string]string{"pki/ca.crt": "pki/ca.crt", "/a-b_c.d/1:2@e": "/a-b_c.d/1:2@e", "": "''", "my dir/x": "'my dir/x'",
		"a'b": `'a'\''b'`, "$HOME": "'$HOME'", "a;b": "'a;b'", "ä": "'ä'"} {
		require.Equal(t, want, ShellWord(word))
	}
}

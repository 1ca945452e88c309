package pki

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A file that appears after the first look fails the whole call, is left as it
// is, and takes the files written before it along.
func TestStoreTakesBackWhatItWrote(t *testing.T) {
	dir := t.TempDir()
	pairs := []Pair{pairIn(dir, "one"), pairIn(dir, "two")}
	require.NoError(t, os.WriteFile(pairs[1].Certificate, []byte("precious"), 0o600))
	whole := credential{certificate: []byte("certificate"), key: []byte("key")}

	err := store(dir, pairs, []credential{whole, whole})
	require.ErrorIs(t, err, fs.ErrExist)
	assert.ErrorContains(t, err, pairs[1].Certificate)

	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	text, err := os.ReadFile(filepath.Join(dir, entries[0].Name()))
	require.NoError(t, err)
	assert.Equal(t, "precious", string(text))
}

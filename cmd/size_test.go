package cmd

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestByteSize(t *testing.T) {
	for text, want := range map[string]ByteSize{
		"0": 0, "1": 1, "512B": 512, "512": 512, "1KiB": 1 << 10, "8128KiB": 8128 << 10, "1MiB": 1 << 20, "10GiB": 10 << 30,
		"2TiB": 2 << 40, " 3 GiB ": 3 << 30, "1024KiB": 1 << 20, "8388607TiB": 8388607 << 40,
	} {
		got, err := ParseByteSize(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
		again, err := ParseByteSize(got.String())
		require.NoError(t, err, "%s is written as %s", text, got)
		require.Equal(t, got, again)
	}
	for _, text := range []string{"", " ", "GiB", "-1", "-1GiB", "1.5GiB", "1GB", "1gib", "1K", "1 KiB KiB", "0x10", "8388608TiB", "9223372036854775808"} {
		_, err := ParseByteSize(text)
		require.ErrorContains(t, err, "is not a size", text)
		require.ErrorContains(t, err, "GiB", text)
	}
}

func TestByteSizeIsWrittenInItsLargestWholeUnit(t *testing.T) {
	for want, size := range map[string]ByteSize{"0": 0, "1B": 1, "1023B": 1023, "1KiB": 1024, "1025B": 1025, "1536KiB": 3 << 19, "1GiB": 1 << 30} {
		require.Equal(t, want, size.String())
	}
}

package cmd

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ByteSize is a number of bytes, written as "512KiB", "10GiB" or a plain number.
type ByteSize int64

var sizeUnits = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// ParseByteSize reads a size.
func ParseByteSize(s string) (ByteSize, error) {
	text, factor := strings.TrimSpace(s), int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(text, u.name); ok {
			text, factor = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/factor {
		return 0, fmt.Errorf("%q is not a size: write a number of bytes, or one with KiB, MiB, GiB or TiB", s)
	}
	return ByteSize(n * factor), nil
}

func (b ByteSize) String() string {
	for _, u := range sizeUnits {
		if int64(b) >= u.bytes && int64(b)%u.bytes == 0 {
			return strconv.FormatInt(int64(b)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// Set and Type make it a flag.
func (b *ByteSize) Set(s string) (err error) { *b, err = ParseByteSize(s); return err }

// Type is the word for it in the help.
func (b *ByteSize) Type() string { return "size" }

// UnmarshalText and MarshalText make it YAML and JSON.
func (b *ByteSize) UnmarshalText(text []byte) error { return b.Set(string(text)) }

// MarshalText writes it as it is read.
func (b ByteSize) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

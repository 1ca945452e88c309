package broker

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Only the usual acknowledgement is read without the decoder; whatever else there
// is in one must reach it.
func TestThePlainAcknowledgement(t *testing.T) {
	for text, want := range map[string]uint64{
		`{"stream":"Q_default-foreman_4jrab7ji","seq":12}`:              12,
		`{"stream":"S","seq":18446744073709551615}`:                     18446744073709551615,
		`{"stream":"S","seq":0}`:                                        0,
		`{"stream":"S","seq":12,"duplicate":true}`:                      0,
		`{"stream":"S","domain":"edge","seq":12}`:                       0,
		`{"error":{"code":503,"err_code":10077},"stream":"S","seq":0}`:  0,
		`{"stream":"S","seq":-1}`:                                       0,
		`{"stream":"S","seq":12} `:                                      0,
		`{"stream":"S"}`:                                                0,
		``:                                                              0,
		`{"error":{"code":400,"err_code":10071,"description":"wrong"}}`: 0,
		`{"stream":"a\"b","seq":12}`:                                    0,
	} {
		got, ok := plainAck([]byte(text))
		require.Equal(t, want != 0, ok, text)
		if ok {
			require.Equal(t, want, got, text)
		}
	}
}

package relay

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestEventsAreReadAsTheDecoderReadsThem: the short way gives what the decoder
// gives, or leaves it to the decoder.
func TestEventsAreReadAsTheDecoderReadsThem(t *testing.T) {
	usual := Event{Sequence: 7, ID: "a,}b", State: Delivered, Attempt: 1, Status: 201, Epoch: 3, Keyed: true, Run: 9}
	text, err := usual.Encode()
	require.NoError(t, err)
	var w wireEvent
	require.True(t, w.read(text), "the usual event is read the short way: %s", text)

	rapid.Check(t, func(t *rapid.T) {
		e := Event{Sequence: rapid.Uint64Min(1).Draw(t, "s"), ID: rapid.String().Draw(t, "i"), State: rapid.SampledFrom([]State{Delivered, Waiting, Dead}).Draw(t, "o"),
			Attempt: rapid.Int().Draw(t, "a"), Status: rapid.Int().Draw(t, "c"), Detail: rapid.String().Draw(t, "d"), Epoch: rapid.Uint64().Draw(t, "e"),
			Keyed: rapid.Bool().Draw(t, "k"), Run: rapid.Uint64().Draw(t, "u"), Pause: rapid.Bool().Draw(t, "p")}
		text, err := e.Encode()
		require.NoError(t, err)
		agree(t, text)
		agree(t, damaged(t, text))
	})
}

func damaged(t *rapid.T, text []byte) []byte {
	text = append([]byte{}, text...)
	at := rapid.IntRange(0, len(text)-1).Draw(t, "at")
	text[at] = rapid.Byte().Draw(t, "byte")
	return text[:rapid.IntRange(1, len(text)).Draw(t, "length")]
}

func agree(t require.TestingT, text []byte) {
	var short, long wireEvent
	if short.read(text) {
		require.NoError(t, json.Unmarshal(text, &long), "%s", text)
		require.Equal(t, long, short, "%s", text)
	}
}

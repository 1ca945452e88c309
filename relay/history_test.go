package relay

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func attempted(n int, detail string) EventStatus {
	at := time.Date(2026, 11, 24, 12, n, 0, 7, time.UTC)
	next := at.Add(time.Minute)
	return EventStatus{At: at, State: Waiting, Attempt: n, Status: 500, Reason: ReasonServerError, Detail: detail, Next: &next, Epoch: 3}
}

func TestAHistoryIsKeptAndBounded(t *testing.T) {
	h := &History{}
	for n := 1; n <= MaxHistory+7; n++ {
		h.Add(attempted(n, strings.Repeat("ü", 200)))
	}
	require.Len(t, h.Events, MaxHistory)
	require.Equal(t, 7, h.Dropped)
	require.Equal(t, 8, h.Events[0].Attempt)
	require.LessOrEqual(t, len(h.Events[0].Detail), maxHistoryDetail)
	require.True(t, strings.HasSuffix(h.Events[0].Detail, "ü…"), h.Events[0].Detail)

	text, err := h.Encode(1 << 20)
	require.NoError(t, err)
	got, err := DecodeHistory(text)
	require.NoError(t, err)
	require.Equal(t, h, got)

	short, err := h.Encode(500)
	require.NoError(t, err)
	require.LessOrEqual(t, len(short), 500)
	got, err = DecodeHistory(short)
	require.NoError(t, err)
	require.NotEmpty(t, got.Events)
	require.Equal(t, MaxHistory+7, got.Dropped+len(got.Events), "what is not kept is counted")
	require.Equal(t, h.Events[MaxHistory-1], got.Events[len(got.Events)-1], "the newest stay")
	require.Len(t, h.Events, MaxHistory, "encoding changes nothing")

	text, err = h.Encode(10)
	require.NoError(t, err)
	require.Empty(t, text)
}

// Details that have nothing in common cannot be packed: the bound holds.
func TestAHistoryOfManyDifferentTextsFits(t *testing.T) {
	h := &History{}
	chance := rand.New(rand.NewPCG(1, 2))
	for n := range MaxHistory {
		var detail strings.Builder
		for detail.Len() < maxHistoryDetail {
			detail.WriteByte(' ' + byte(chance.IntN(95)))
		}
		h.Add(attempted(n+1, detail.String()))
	}
	text, err := h.Encode(1 << 20)
	require.NoError(t, err)
	require.LessOrEqual(t, len(text), maxHistoryBytes)
	got, err := DecodeHistory(text)
	require.NoError(t, err)
	require.Positive(t, got.Dropped)
	require.Equal(t, MaxHistory, got.Events[len(got.Events)-1].Attempt)
}

// One that was not made by Add, in an export that somebody edited say, is bounded
// as well.
func TestAHistoryFromElsewhereIsCut(t *testing.T) {
	h := &History{}
	for n := range 1000 {
		h.Events = append(h.Events, attempted(n, ""))
	}
	text, err := h.Encode(1 << 20)
	require.NoError(t, err)
	got, err := DecodeHistory(text)
	require.NoError(t, err)
	require.Len(t, got.Events, MaxHistory)
	require.Equal(t, 1000-MaxHistory, got.Dropped)
}

func TestABrokenHistoryIsAnError(t *testing.T) {
	for _, text := range []string{"ä", "AAAA", "YQ"} {
		_, err := DecodeHistory(text)
		require.Error(t, err, text)
	}
}

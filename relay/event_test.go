package relay

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestEventStoredForm(t *testing.T) {
	e := Event{Sequence: 7, ID: "abc", State: Waiting, Attempt: 2, Status: 500, Reason: ReasonServerError, Detail: "it said <no>",
		Next: time.UnixMilli(1790000000123).UTC(), Epoch: 3, Keyed: true, Link: "other", Ambiguous: true, Run: 4, Recorded: time.Unix(1, 0)}
	b, err := e.Encode()
	require.NoError(t, err)
	require.JSONEq(t, `{"s":7,"i":"abc","o":"waiting","a":2,"c":500,"r":"server_error","d":"it said <no>","n":1790000000123,"e":3,"k":true,"l":"other","x":true,"u":4}`, string(b))

	b, err = Event{Sequence: 1, ID: "i", State: Delivered}.Encode()
	require.NoError(t, err)
	require.JSONEq(t, `{"s":1,"i":"i","o":"delivered"}`, string(b), "short, because there is one for every message")

	begin := Event{State: Started, Sequence: 0, Run: 1, Reach: 1024, Reason: ReasonStopped}
	b, err = begin.Encode()
	require.NoError(t, err)
	require.JSONEq(t, `{"s":0,"i":"","o":"started","r":"stopped","u":1,"h":1024}`, string(b))
	got, err := DecodeEvent(b)
	require.NoError(t, err)
	require.Equal(t, begin, got)
}

func TestEventSurvivesItsStoredForm(t *testing.T) {
	states := append([]State{Waiting}, settledStates[:]...)
	rapid.Check(t, func(t *rapid.T) {
		e := Event{
			Sequence: rapid.Uint64Min(1).Draw(t, "sequence"), ID: rapid.String().Draw(t, "id"),
			State: rapid.SampledFrom(states).Draw(t, "state"), Attempt: rapid.Int().Draw(t, "attempt"),
			Status: rapid.IntRange(0, 999).Draw(t, "status"), Reason: rapid.String().Draw(t, "reason"),
			Detail: rapid.String().Draw(t, "detail"), Epoch: rapid.Uint64().Draw(t, "epoch"),
			Keyed: rapid.Bool().Draw(t, "keyed"), Link: rapid.String().Draw(t, "link"),
			Ambiguous: rapid.Bool().Draw(t, "ambiguous"), Run: rapid.Uint64().Draw(t, "run"),
		}
		if rapid.Bool().Draw(t, "has next") {
			e.Next = time.UnixMilli(rapid.Int64Range(1, 1<<45).Draw(t, "next")).UTC()
		}
		b, err := e.Encode()
		require.NoError(t, err)
		got, err := DecodeEvent(b)
		require.NoError(t, err)
		require.Equal(t, e, got)
	})
}

func TestDecodeEventRefuses(t *testing.T) {
	for _, text := range []string{
		"", "null", "[]", "7", `"x"`, "{", `{"s":1}`, `{"o":"delivered"}`, `{"s":0,"o":"delivered"}`,
		`{"s":-1,"o":"delivered"}`, `{"s":1,"o":"queued"}`, `{"s":1,"o":"accepted"}`, `{"s":1,"o":"delivering"}`,
		`{"s":1,"o":"scheduled"}`, `{"s":1,"o":"DELIVERED"}`, `{"s":1.5,"o":"delivered"}`, `{"o":"started"}`, `{"s":1,"o":"started"}`,
	} {
		_, err := DecodeEvent([]byte(text))
		assert.Error(t, err, text)
	}
}

func FuzzDecodeEvent(f *testing.F) {
	f.Add([]byte(`{"s":7,"i":"abc","o":"waiting","a":2,"c":500,"r":"server_error","n":1790000000123}`))
	f.Add([]byte(`{"s":18446744073709551615,"o":"dead","n":-9223372036854775808}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeEvent(b)
		if err != nil {
			return
		}
		require.True(t, json.Valid(b))
		require.True(t, e.Sequence > 0 && (e.State == Waiting || e.State.Settled()) || e.State == Started && e.Run > 0)
		again, err := e.Encode()
		require.NoError(t, err)
		e2, err := DecodeEvent(again)
		require.NoError(t, err)
		require.Equal(t, e, e2)
	})
}

package broker_test

import (
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/relay"
)

// twoMinds is a destination that refuses until it is told otherwise.
func twoMinds() (*destination, *atomic.Bool) {
	var kind atomic.Bool
	return newDestination(func(n int, m *relay.Message) relay.Result {
		if kind.Load() {
			return delivered(n, m)
		}
		return rejected(n, m)
	}), &kind
}

func setValue(pointer, value string) relay.Edit {
	return relay.Edit{Set: []relay.Replacement{{Pointer: pointer, Value: json.RawMessage(value)}}}
}

// What is edited is delivered so, under an id of its own instead of the key, and
// in the lane that the new body is for.
func TestAReplayIsEdited(t *testing.T) {
	b := open(t, stateDir(t), func(o *broker.Options) {
		o.Routes = []relay.Route{{Name: "facts", Destination: queue.Destination, Paths: []string{"/f"}, Keep: []string{"X-Kept"},
			Lane: relay.LaneRule{From: []relay.Source{relay.Pointer("/name")}}}}
	})
	d, kind := twoMinds()
	drain(t, b, d, nil)
	m := message("old", "k", `{"name":"old", "n":1.0}`)
	m.Route, m.Header = "facts", map[string]string{"X-Kept": "1"}
	letter := accept(t, b, m)
	status(t, b, settled)

	_, err := b.Replay(t.Context(), letter.ID, relay.Edit{Header: map[string]string{"Cookie": "x"}})
	require.Equal(t, relay.CodeInvalid, relay.CodeOf(err))
	require.ErrorContains(t, err, "what can be set is Content-Type, Accept, X-Kept")
	_, err = b.Replay(t.Context(), letter.ID, setValue("/no/way", `1`))
	require.Equal(t, relay.CodeInvalid, relay.CodeOf(err))
	require.EqualValues(t, 1, status(t, b, settled).Accepted, "nothing was replayed")

	kind.Store(true)
	edit := setValue("/name", `"New"`)
	edit.Header = map[string]string{"X-Kept": "2", "Content-Type": "application/json"}
	receipt, err := b.Replay(t.Context(), letter.ID, edit)
	require.NoError(t, err)
	require.False(t, receipt.Replayed)
	status(t, b, settled)
	got := d.got[len(d.got)-1]
	require.Equal(t, []string{`{"name":"New", "n":1.0}`, "new", "", "application/json", "2", letter.ID, receipt.ID},
		[]string{string(got.Body), got.Lane, got.Key, got.ContentType, got.Header["X-Kept"], got.ReplayedFrom, got.ID})
	require.Equal(t, relay.DigestOf(got.Body), got.Digest)
	s, err := b.Message(t.Context(), receipt.ID)
	require.NoError(t, err)
	require.Equal(t, []any{relay.Delivered, letter.ID}, []any{s.State, s.ReplayedFrom})
	balanced(t, b)
}

// A replay may die and be replayed in its turn; each letter is replayed once.
func TestAReplayOfAReplay(t *testing.T) {
	b := open(t, stateDir(t), nil)
	d, kind := twoMinds()
	drain(t, b, d, nil)
	first := accept(t, b, message("host", "k", "x"))
	status(t, b, settled)
	second, err := b.Replay(t.Context(), first.ID, relay.Edit{})
	require.NoError(t, err)
	status(t, b, func(s relay.QueueStatus) bool { return s.Dead == 1 && s.Pending == 0 })
	l, err := b.DeadLetter(t.Context(), second.ID)
	require.NoError(t, err)
	require.Equal(t, first.ID, l.ReplayedFrom)
	kind.Store(true)
	third, err := b.Replay(t.Context(), second.ID, relay.Edit{})
	require.NoError(t, err)
	s := status(t, b, settled)
	require.Equal(t, []uint64{3, 0, 1, 2}, []uint64{s.Accepted, s.Dead, s.Delivered, s.Superseded})
	for id, want := range map[string]string{first.ID: second.ID, second.ID: third.ID} {
		m, err := b.Message(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, want, m.ReplacedBy)
	}
	require.Equal(t, "k", d.got[2].Key, "unchanged, it is the same request to the destination")
	balanced(t, b)
}

// While the replay waits to be delivered, a second one finds no letter and makes
// no message.
func TestASecondReplayOfALetter(t *testing.T) {
	b := open(t, stateDir(t), nil)
	d, _ := twoMinds()
	stop := drain(t, b, d, nil)
	letter := accept(t, b, message("host", "", "x"))
	status(t, b, settled)
	stop()
	_, err := b.Replay(t.Context(), letter.ID, relay.Edit{})
	require.NoError(t, err)
	for _, e := range []relay.Edit{{}, {Header: map[string]string{"Accept": "x"}}} {
		_, err = b.Replay(t.Context(), letter.ID, e)
		require.Equal(t, relay.CodeNotFound, relay.CodeOf(err))
	}
	s := status(t, b, func(relay.QueueStatus) bool { return true })
	require.Equal(t, []uint64{2, 1, 1}, []uint64{s.Accepted, s.Pending, s.Superseded})
	balanced(t, b)
}

// A crash between the acceptance of a replay and its record: the letter is there,
// the message too. The same replay completes the record; another edit does so as
// well, and is refused, because the first one may have been delivered.
func TestAReplayThatWasCutShort(t *testing.T) {
	large := `{"a":1,"b":"` + strings.Repeat("x", relay.MaxInline) + `"}`
	for name, c := range map[string]struct {
		body          string
		first, second relay.Edit
		code          relay.Code
	}{
		"the same again":        {`{"a":1}`, relay.Edit{}, relay.Edit{}, ""},
		"the same edit again":   {`{"a":1}`, setValue("/a", `2`), setValue("/a", `2`), ""},
		"with an edit now":      {`{"a":1}`, relay.Edit{}, setValue("/a", `2`), relay.CodeConflict},
		"with another edit":     {`{"a":1}`, setValue("/a", `2`), setValue("/a", `3`), relay.CodeConflict},
		"another header":        {`{"a":1}`, relay.Edit{}, relay.Edit{Header: map[string]string{"Accept": "b"}}, relay.CodeConflict},
		"without the edit":      {`{"a":1}`, setValue("/a", `2`), relay.Edit{}, relay.CodeConflict},
		"large, again":          {large, relay.Edit{}, relay.Edit{}, ""},
		"large, another header": {large, relay.Edit{}, relay.Edit{Header: map[string]string{"Accept": "b"}}, relay.CodeConflict},
		"large, no edit":        {large, setValue("/a", `2`), relay.Edit{}, relay.CodeConflict},
	} {
		b := open(t, stateDir(t), nil)
		d, kind := twoMinds()
		drain(t, b, d, nil)
		m := message("host", "k", c.body)
		letter := accept(t, b, m)
		status(t, b, settled)
		kind.Store(true)
		replay := *m
		require.NoError(t, c.first.Apply(&replay, relay.Route{}))
		replay.ID, replay.ReplayedFrom = relay.ReplayID(queue, letter.ID), letter.ID
		accept(t, b, &replay)
		status(t, b, settled)

		receipt, err := b.Replay(t.Context(), letter.ID, c.second)
		if c.code == "" {
			require.NoError(t, err, name)
			require.Equal(t, []any{replay.ID, true}, []any{receipt.ID, receipt.Replayed}, name)
		} else {
			require.Equal(t, c.code, relay.CodeOf(err), name)
			require.ErrorContains(t, err, "with another edit, as "+replay.ID, name)
		}
		s := status(t, b, settled)
		require.Equal(t, []uint64{2, 0, 1, 1}, []uint64{s.Accepted, s.Dead, s.Delivered, s.Superseded}, name)
		require.Len(t, d.bodies(), 2, "one replay was delivered: %s", name)
		balanced(t, b)
	}
}

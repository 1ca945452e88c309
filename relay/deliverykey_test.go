package relay

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDeliveryKey(t *testing.T) {
	derived, ok := KeyRule{Type: "salt", From: []Source{BodyDigest()}}.Derive(Request{Digest: "d"})
	require.True(t, ok)
	for name, c := range map[string]struct {
		m    Message
		want string
	}{
		"as the sender gave it":               {Message{ID: "id", Key: `"8e03978e-40d5"`}, `"8e03978e-40d5"`},
		"none":                                {Message{ID: "id"}, "id"},
		"derived":                             {Message{ID: "id", Key: derived}, "id"},
		"a replayed letter of a sender's key": {Message{ID: "new", Key: "order-66", ReplayedFrom: "old"}, "new"},
		"a replayed letter without a key":     {Message{ID: "new", ReplayedFrom: "old"}, "new"},
	} {
		require.Equal(t, c.want, c.m.DeliveryKey(), name)
	}
	one, other := KeyedID(Queue{"one", "hook"}, derived), KeyedID(Queue{"other", "hook"}, derived)
	require.NotEqual(t, one, other, "two organizations derive one key, and a destination that they share sees two")
}

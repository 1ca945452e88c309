package broker

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

func placeNamed(lane string) relay.Place { return relay.Place{Lane: lane, Route: "facts"} }

func enterAll(n *newest, lane string, sequences ...uint64) {
	for _, s := range sequences {
		n.enter(relay.Newest{Place: placeNamed(lane), Sequence: s, ID: fmt.Sprint("id", s)})
	}
}

func sequencesOf(r relay.NewestReply) []uint64 {
	var all []uint64
	for _, n := range r.Newest {
		all = append(all, n.Sequence)
	}
	return all
}

// The journal is read while messages come in: whichever is entered first, the
// higher sequence is the newest.
func TestTheHighestSequenceIsTheNewest(t *testing.T) {
	n := newNewest(relay.Queue{}, nil, 10)
	enterAll(n, "a", 7, 3, 5)
	enterAll(n, "b", 2, 4)
	r := n.answer(relay.NewestRequest{Places: []relay.Place{placeNamed("a"), placeNamed("none"), placeNamed("b")}})
	require.Equal(t, []uint64{7, 4}, sequencesOf(r))
	require.Equal(t, "id7", r.Newest[0].ID)
	require.False(t, r.Known)
	n.complete()
	require.True(t, n.answer(relay.NewestRequest{}).Known)
}

// Each place that has changed after a version is told once, with what is its
// newest now, and nothing is left out between two replies.
func TestChangesAreTold(t *testing.T) {
	n := newNewest(relay.Queue{}, nil, 10)
	enterAll(n, "a", 1)
	enterAll(n, "b", 2)
	start := n.answer(relay.NewestRequest{Places: []relay.Place{placeNamed("b")}})
	require.Equal(t, []uint64{2}, sequencesOf(start))
	require.Empty(t, n.answer(relay.NewestRequest{Follow: true, Since: start.Version}).Newest)
	enterAll(n, "a", 3)
	enterAll(n, "c", 4)
	enterAll(n, "a", 5)
	r := n.answer(relay.NewestRequest{Follow: true, Since: start.Version})
	require.Equal(t, []uint64{4, 5}, sequencesOf(r))
	require.Empty(t, n.answer(relay.NewestRequest{Follow: true, Since: r.Version}).Newest)

	r = n.answer(relay.NewestRequest{Follow: true, Since: r.Version + 1000}) // of an edge before this one
	require.Empty(t, r.Newest)
	enterAll(n, "b", 6)
	require.Equal(t, []uint64{6}, sequencesOf(n.answer(relay.NewestRequest{Follow: true, Since: r.Version})))
}

func TestManyChangesAreToldInParts(t *testing.T) {
	const places = 2*relay.MaxChanges + 10
	n := newNewest(relay.Queue{}, nil, places)
	for i := range places {
		enterAll(n, fmt.Sprint(i), uint64(i+1))
	}
	var told []uint64
	since, replies := uint64(0), 0
	for more := true; more; replies++ {
		r := n.answer(relay.NewestRequest{Follow: true, Since: since})
		require.LessOrEqual(t, len(r.Newest), relay.MaxChanges)
		told, since, more = append(told, sequencesOf(r)...), r.Version, r.More
	}
	require.Equal(t, 3, replies)
	require.Len(t, told, places)
	require.IsIncreasing(t, told)
	many := make([]relay.Place, relay.MaxPlaces+1)
	for i := range many {
		many[i] = placeNamed(fmt.Sprint(i))
	}
	require.Len(t, n.answer(relay.NewestRequest{Places: many}).Newest, relay.MaxPlaces)
}

// The bound keeps the places that changed last, and says how many it left out.
func TestTheBoundKeepsWhatChangedLast(t *testing.T) {
	n := newNewest(relay.Queue{}, nil, 2)
	enterAll(n, "a", 1)
	enterAll(n, "b", 2)
	enterAll(n, "a", 3)
	enterAll(n, "c", 4)
	_, kept := n.of(placeNamed("b"))
	require.False(t, kept)
	require.EqualValues(t, 1, n.prune(3))
	_, kept = n.of(placeNamed("a"))
	require.False(t, kept, "everything up to the floor is settled")
	_, kept = n.of(placeNamed("c"))
	require.True(t, kept)
	require.Zero(t, n.prune(3))
}

// BenchmarkPlaces says what a place costs: run with -benchmem.
func BenchmarkPlaces(b *testing.B) {
	n := newNewest(relay.Queue{}, nil, b.N)
	for i := range b.N {
		n.enter(relay.Newest{Place: relay.Place{Lane: fmt.Sprintf("%012d", i), Route: "facts"}, Sequence: uint64(i), ID: fmt.Sprintf("%033d", i)})
	}
}

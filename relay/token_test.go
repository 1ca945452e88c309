package relay

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var testQueue = Queue{Organization: "default", Destination: "foreman"}

// Ids are in journals, in records and in operators' notes: another hash would
// forget every key. These values must never change.
func TestTokensAreForEver(t *testing.T) {
	assert.Equal(t, "4jrab7ji", testQueue.Token())
	assert.Equal(t, "4jrab7ji-uwilt5xty4wwf5m26r7aax43", KeyedID(testQueue, "k"))
	assert.Equal(t, "4jrab7ji-b2qouw6itphu5ortw7lp3oeo", ReplayID(testQueue, KeyedID(testQueue, "k")))
	assert.Equal(t, "q5r5gjinlbd6", LaneToken("host1.example.com", "x"))
	assert.Equal(t, "hjmechzhwxpg", LaneToken("", "x"))
	assert.Equal(t, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", DigestOf(nil))
}

func TestIDs(t *testing.T) {
	shape := regexp.MustCompile(`^[a-z2-7]{8}-[a-z2-7]{24}$`)
	other := Queue{Organization: "default/foreman", Destination: "foreman"}
	for name, id := range map[string]string{"fresh": FreshID(testQueue), "keyed": KeyedID(testQueue, ""), "replay": ReplayID(testQueue, "")} {
		require.Regexp(t, shape, id, name)
		queue, own, ok := ParseID(id)
		require.True(t, ok, name)
		require.Equal(t, testQueue.Token(), queue, name)
		require.Equal(t, id, queue+"-"+own, name)
	}
	assert.NotEqual(t, FreshID(testQueue), FreshID(testQueue))
	assert.Equal(t, KeyedID(testQueue, "k"), KeyedID(testQueue, "k"))
	assert.NotEqual(t, KeyedID(testQueue, "k"), KeyedID(testQueue, "K"))
	assert.NotEqual(t, KeyedID(testQueue, "k"), KeyedID(other, "k"))
	assert.NotEqual(t, KeyedID(testQueue, "k"), ReplayID(testQueue, "k"))
	assert.Equal(t, ReplayID(testQueue, "k"), ReplayID(testQueue, "k"))
}

func TestParseIDRefuses(t *testing.T) {
	good := KeyedID(testQueue, "k")
	for _, id := range []string{
		"", "-", good[1:], good + "a", strings.ToUpper(good), strings.Replace(good, "-", "_", 1),
		strings.Replace(good, "-", ".", 1), good[:len(good)-1] + "1", good[:len(good)-1] + ">", "*" + good[1:],
		strings.Repeat("-", len(good)), good[:9] + strings.Repeat("é", 12),
	} {
		_, _, ok := ParseID(id)
		assert.False(t, ok, id)
	}
}

// What is divided in another way is another name.
func TestTokenDividesItsParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.String(), 1, 3).Draw(t, "parts")
		others := rapid.SliceOfN(rapid.String(), 1, 3).Draw(t, "others")
		same := len(parts) == len(others)
		for i := 0; same && i < len(parts); i++ {
			same = parts[i] == others[i]
		}
		require.Equal(t, same, token(idTokenLen, parts...) == token(idTokenLen, others...))
	})
	require.NotEqual(t, token(8, "ab", "c"), token(8, "a", "bc"))
	require.NotEqual(t, token(8, "a", ""), token(8, "a"))
	require.NotEqual(t, Queue{"a", "b/c"}.Token(), Queue{"a/b", "c"}.Token())
}

// A lane is a host's; a message without one has a lane that no host has.
func TestLaneToken(t *testing.T) {
	require.Len(t, LaneToken("host", "id"), laneTokenLen)
	require.Equal(t, LaneToken("host", "one"), LaneToken("host", "two"))
	require.NotEqual(t, LaneToken("", "one"), LaneToken("", "two"))
	require.NotEqual(t, LaneToken("", "one"), LaneToken("one", "one"))
	require.True(t, isToken(LaneToken("*.>", "x")))
}

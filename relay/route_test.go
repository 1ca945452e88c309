package relay

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func document(t testing.TB, text string) any {
	t.Helper()
	var doc any
	require.NoError(t, json.Unmarshal([]byte(text), &doc))
	return doc
}

func TestLaneRuleExtract(t *testing.T) {
	rule := LaneRule{Pointers: []string{"/report/host", "/name", "/a~1b/c~0d/~01"}}
	for text, want := range map[string]string{
		`{"report":{"host":"Host1.Example.COM"}}`:            "host1.example.com",
		`{"report":{"host":"  h \t\n"},"name":"other"}`:      "h",
		`{"report":{"host":" "},"name":"Second"}`:            "second",
		`{"report":{"host":7},"name":"n"}`:                   "n",
		`{"report":{"host":null},"name":"n"}`:                "n",
		`{"report":"no object","name":"n"}`:                  "n",
		`{"report":[{"host":"h"}],"name":"n"}`:               "n",
		`{"a/b":{"c~d":{"~1":"escaped"}}}`:                   "escaped",
		`{"report":{"host":{"host":"deep"}}}`:                "",
		`{"Report":{"Host":"other names"}}`:                  "",
		`{}`:                                                 "",
		`[]`:                                                 "",
		`"name"`:                                             "",
		`null`:                                               "",
		`{"name":"ÄÖÜ.Example.COM"}`:                         "äöü.example.com",
		`{"name":"a\nb"}`:                                    "a\nb",
		`{"report":{"host":"one"},"name":"not looked at"}`:   "one",
		`{"report":{"host":"one","host":"the last counts"}}`: "the last counts",
	} {
		assert.Equal(t, want, rule.Extract(document(t, text)), text)
	}
	assert.Empty(t, LaneRule{}.Extract(document(t, `{"name":"n"}`)))
}

func TestKeyRuleDerive(t *testing.T) {
	rule := KeyRule{Type: "kind", Pointers: []string{"/host", "/at"}}
	for text, want := range map[string]string{
		`{"host":"H","at":"now"}`:            "kind\x1fH\x1fnow",
		`{"at":"now","host":"H","more":[1]}`: "kind\x1fH\x1fnow",
		`{"host":"","at":""}`:                "kind\x1f\x1f",
	} {
		key, ok := rule.Derive(document(t, text))
		assert.True(t, ok, text)
		assert.Equal(t, want, key, text)
	}
	for _, text := range []string{`{}`, `{"host":"H"}`, `{"at":"now"}`, `{"host":"H","at":5}`, `{"host":["H"],"at":"now"}`, `[]`, `null`} {
		key, ok := rule.Derive(document(t, text))
		assert.False(t, ok, text)
		assert.Empty(t, key, text)
	}
	key, ok := KeyRule{Type: "no pointers"}.Derive(document(t, `{"host":"H"}`))
	assert.False(t, ok)
	assert.Empty(t, key)
}

func TestKeyRuleNormalizes(t *testing.T) {
	var seen []int
	rule := KeyRule{Type: "kind", Pointers: []string{"/a", "/b"}, Normalize: func(i int, value string) string {
		seen = append(seen, i)
		return value + "!"
	}}
	key, ok := rule.Derive(document(t, `{"a":"x","b":"y"}`))
	require.True(t, ok)
	require.Equal(t, "kind\x1fx!\x1fy!", key)
	require.Equal(t, []int{0, 1}, seen)
}

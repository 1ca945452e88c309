package relay

import (
	"encoding/json"
	"net/url"
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
	rule := LaneRule{From: []Source{Pointer("/report/host"), Pointer("/name"), Pointer("/a~1b/c~0d/~01")}}
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
		assert.Equal(t, want, rule.Extract(Request{Doc: document(t, text)}), text)
	}
	assert.Empty(t, LaneRule{}.Extract(Request{Doc: document(t, `{"name":"n"}`)}))
}

func TestKeyRuleDerive(t *testing.T) {
	rule := KeyRule{Type: "kind", From: []Source{Pointer("/host"), Pointer("/at")}}
	for text, want := range map[string]string{
		`{"host":"H","at":"now"}`:            "kind\x1fH\x1fnow",
		`{"at":"now","host":"H","more":[1]}`: "kind\x1fH\x1fnow",
		`{"host":"","at":""}`:                "kind\x1f\x1f",
	} {
		key, ok := rule.Derive(Request{Doc: document(t, text)})
		assert.True(t, ok, text)
		assert.Equal(t, want, key, text)
	}
	for _, text := range []string{`{}`, `{"host":"H"}`, `{"at":"now"}`, `{"host":"H","at":5}`, `{"host":["H"],"at":"now"}`, `[]`, `null`} {
		key, ok := rule.Derive(Request{Doc: document(t, text)})
		assert.False(t, ok, text)
		assert.Empty(t, key, text)
	}
	key, ok := KeyRule{Type: "no sources"}.Derive(Request{Doc: document(t, `{"host":"H"}`)})
	assert.False(t, ok)
	assert.Empty(t, key)
}

func TestKeyRuleNormalizes(t *testing.T) {
	shout := func(value string) string { return value + "!" }
	rule := KeyRule{Type: "kind", From: []Source{Through(shout, Pointer("/a")), Pointer("/b")}}
	key, ok := rule.Derive(Request{Doc: document(t, `{"a":"x","b":"y"}`)})
	require.True(t, ok)
	require.Equal(t, "kind\x1fx!\x1fy", key)
	_, ok = rule.Derive(Request{Doc: document(t, `{"b":"y"}`)})
	require.False(t, ok)
}

// What a rule may look at beside the body.
func TestSources(t *testing.T) {
	q := Request{Params: map[string]string{"policy": "7"}, Query: url.Values{"token": {"s3cret"}}, Address: "192.0.2.1", Digest: "d"}
	for want, from := range map[string]Source{"7": Param("policy"), "192.0.2.1": Address, "d": BodyDigest} {
		got, ok := from(q)
		require.True(t, ok)
		require.Equal(t, want, got)
	}
	token, ok := SecretQuery("token")(q)
	require.True(t, ok)
	require.Regexp(t, "^token-[0-9a-f]{20}$", token)
	require.NotContains(t, token, "s3cret", "operators see lanes and keys")
	for name, from := range map[string]Source{"param": Param("other"), "query": SecretQuery("other"), "body": Pointer("/x")} {
		_, ok := from(q)
		require.False(t, ok, name)
	}
	_, ok = Address(Request{})
	require.False(t, ok)
}

func TestMatchIsTheInverseOfFill(t *testing.T) {
	r := Route{Paths: []string{"/in/:policy"}, Target: "/arf/:cname/:policy/:date"}
	params := map[string]string{"cname": "a b/c", "policy": "7", "date": "1"}
	path := Fill(r.Target, params)
	require.Equal(t, "/arf/a%20b%2Fc/7/1", path)
	got, ok := r.Match(path + "?x=1")
	require.True(t, ok)
	require.Equal(t, params, got)
	for _, other := range []string{"", "/in/7", "/arf/a/7", "/arf/a//1", "/arf/a/7/1/", "/arf/%zz/7/1"} {
		_, ok := r.Match(other)
		require.False(t, ok, other)
	}
	got, ok = Route{Paths: []string{"/a", "/b/:x"}}.Match("/b/%31")
	require.True(t, ok)
	require.Equal(t, map[string]string{"x": "1"}, got)
}

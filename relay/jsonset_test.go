package relay

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A value is put where the pointer leads, and nothing else changes, down to the
// spelling of numbers and the order of members.
func TestAValueIsSetInTheVeryBytes(t *testing.T) {
	const doc = ` {"z": 1.0e2 , "a/b":{"m~n":[10 ,{"deep":null}, "x"]}, "":5,"dup":1,"dup":2,"e":{ }, "l":[]} `
	for name, c := range map[string]struct{ pointer, value, want string }{
		"a number":                {"/z", `7`, strings.Replace(doc, "1.0e2", "7", 1)},
		"below, escaped":          {"/a~1b/m~0n/0", `"ten"`, strings.Replace(doc, "10", `"ten"`, 1)},
		"in an array's object":    {"/a~1b/m~0n/1/deep", `{"k":[1]}`, strings.Replace(doc, "null", `{"k":[1]}`, 1)},
		"a member without name":   {"/", `6`, strings.Replace(doc, `"":5`, `"":6`, 1)},
		"the last of two":         {"/dup", `3`, strings.Replace(doc, `"dup":2`, `"dup":3`, 1)},
		"a new member":            {"/a~1b/new", `true`, strings.Replace(doc, `"x"]}`, `"x"],"new":true}`, 1)},
		"a first member":          {"/e/f\"", `1`, strings.Replace(doc, `{ }`, `{"f\"":1 }`, 1)},
		"the end of an array":     {"/a~1b/m~0n/-", `4`, strings.Replace(doc, `"x"]`, `"x",4]`, 1)},
		"the end of an empty one": {"/l/-", `[]`, strings.Replace(doc, `"l":[]`, `"l":[[]]`, 1)},
		"everything":              {"", `[1]`, `[1]`},
	} {
		got, err := Replacement{Pointer: c.pointer, Value: json.RawMessage(c.value)}.in([]byte(doc))
		require.NoError(t, err, name)
		require.Equal(t, c.want, string(got), name)
		require.True(t, json.Valid(got), name)
	}
	for pointer, want := range map[string]string{
		"z": "is no JSON pointer: it begins with /", "/z/y": `leads nowhere in the body: there is no "/z/y"`, "/a~1b/m~0n/3": "leads nowhere",
		"/a~1b/m~0n/00": "leads nowhere", "/no/way": `there is no "/no"`, "/l/-/x": "leads nowhere", "/a~2": "a ~ is written ~0",
		strings.Repeat("/a", 33): "33 steps, more than 32",
	} {
		_, err := Replacement{Pointer: pointer, Value: json.RawMessage(`1`)}.in([]byte(doc))
		require.ErrorContains(t, err, want, pointer)
	}
	_, err := Replacement{Pointer: "/z", Value: json.RawMessage(`bare`)}.in([]byte(doc))
	require.ErrorContains(t, err, "a string needs its quotes")
}

// Whatever the document and wherever a member of it is, setting it is what a
// reader of the document would have done.
func TestASetValueIsThereAndNothingElseChanged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringN(0, 5, 8), 1, 5, rapid.ID[string]).Draw(t, "names")
		doc := map[string]any{}
		for _, name := range names {
			doc[name] = rapid.OneOf(rapid.Just(any("text")), rapid.Just(any(1.5)), rapid.Just(any([]any{"a", true})), rapid.Just(any(map[string]any{"b": nil}))).Draw(t, "value")
		}
		name := rapid.OneOf(rapid.SampledFrom(names), rapid.StringN(0, 5, 8)).Draw(t, "name")
		text, err := json.MarshalIndent(doc, "", rapid.SampledFrom([]string{"", " ", "\t\n"}).Draw(t, "indent"))
		require.NoError(t, err)
		pointer := "/" + strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
		got, err := Replacement{Pointer: pointer, Value: json.RawMessage(`{"set": 1}`)}.in(text)
		require.NoError(t, err)
		var read map[string]any
		require.NoError(t, json.Unmarshal(got, &read))
		doc[name] = map[string]any{"set": 1.0}
		require.Equal(t, doc, read)
	})
}

package schemas_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/schemas"
)

func TestASketchKeepsWhatIsLookedAt(t *testing.T) {
	shape := schemas.ShapeOf(schemas.ConfigReport).WithNames("/names").With("/a~1b/c")
	doc, err := schemas.Sketch([]byte(` { "config_report" : {"host":"a\u0041é","reported_at":17e400,"logs":[{"log":[1,2]}],"host":"last"},
		"names": {"x": [1], "y": {"z": 2}}, "a/b": {"c": [1, 2], "d": 1}, "other": [[[]]] } `), shape)
	require.NoError(t, err)
	require.Equal(t, map[string]any{
		"config_report": map[string]any{"host": "last", "reported_at": nil}, // no float64 holds the number
		"names":         map[string]any{"x": nil, "y": nil},
		"a/b":           map[string]any{"c": []any{}},
	}, doc)
}

func TestASketchIsValidatedAsTheDocumentIs(t *testing.T) {
	for name, text := range map[string]string{
		"good": `{"config_report":{"host":"a","reported_at":"2026-11-23 16:13:06 UTC","logs":[]}}`, "no host": `{"config_report":{"reported_at":"2026-11-23"}}`,
		"host is an array": `{"config_report":{"host":["a"],"reported_at":"2026-11-23"}}`, "no object": `[1]`, "null": `null`, "report is a text": `{"config_report":"a"}`,
	} {
		t.Run(name, func(t *testing.T) {
			var whole any
			require.NoError(t, json.Unmarshal([]byte(text), &whole))
			sketch, err := schemas.Sketch([]byte(text), schemas.ShapeOf(schemas.ConfigReport))
			require.NoError(t, err)
			require.Equal(t, schemas.Validate(schemas.ConfigReport, whole), schemas.Validate(schemas.ConfigReport, sketch))
		})
	}
}

func TestASketchSaysWhereATextIsNoJSON(t *testing.T) {
	for text, want := range map[string]string{
		`{"a":1,}`:                 `at byte 8: invalid character '}' looking for the name of a member`,
		`{"a":tru`:                 "at byte 8: unexpected end of JSON",
		`{"a":1} x`:                `at byte 9: invalid character 'x' after the document`,
		"":                         "at byte 0: unexpected end of JSON",
		strings.Repeat("[", 10001): "at byte 10001: exceeded the maximum depth",
	} {
		_, err := schemas.Sketch([]byte(text), &schemas.Shape{})
		var syntax *schemas.SyntaxError
		require.ErrorAs(t, err, &syntax)
		require.Equal(t, want, err.Error())
	}
}

// encoding/json is the measure: the same texts are taken, and what is kept is
// the same.
func FuzzSketch(f *testing.F) {
	for _, seed := range []string{`{"config_report":{"host":"a","reported_at":"b"}}`, `[1,-0.5e+7,"\ud800\u12ab\n",true,false,null,{}]`, `{"a":{"b":[{}]}}`,
		`01`, `-`, `1.`, `1e`, `"\x"`, "\"\x01\"", `{"a" 1}`, `{,}`, `[1 2]`, "\xff", "\"\xff\"", `{"\u0061":1,"a":2}`, `nul`, " \t\r\n{} ", `{"config_report":{"host":{"x":1},"host":2}}`} {
		f.Add([]byte(seed))
	}
	shape := schemas.ShapeOf(schemas.ConfigReport).With("/a").WithNames("/n")
	f.Fuzz(func(t *testing.T, text []byte) {
		var whole any
		err := json.Unmarshal(text, &whole)
		var number *json.UnmarshalTypeError
		if errors.As(err, &number) {
			err = nil
		}
		sketch, got := schemas.Sketch(text, shape)
		if (err == nil) != (got == nil) {
			t.Fatalf("%q: encoding/json says %v, the sketch %v", text, err, got)
		}
		if got != nil || number != nil {
			return
		}
		if want := project(whole, []string{"config_report", "a", "n"}); !reflect.DeepEqual(want, sketch) {
			t.Fatalf("%q: %#v, not %#v", text, sketch, want)
		}
	})
}

// project does to a decoded document what a sketch does while it reads.
func project(v any, names []string) any {
	m, ok := v.(map[string]any)
	if !ok {
		return leaf(v)
	}
	kept := map[string]any{}
	for _, name := range names {
		below, there := m[name]
		switch {
		case !there:
		case name == "config_report":
			kept[name] = project(below, []string{"host", "reported_at"})
		case name == "n":
			kept[name] = leaf(below)
			if object, ok := below.(map[string]any); ok {
				all := map[string]any{}
				for k := range object {
					all[k] = nil
				}
				kept[name] = all
			}
		default:
			kept[name] = leaf(below)
		}
	}
	return kept
}

func leaf(v any) any {
	switch v.(type) {
	case map[string]any:
		return map[string]any{}
	case []any:
		return []any{}
	}
	return v
}

func BenchmarkSketch(b *testing.B) {
	body, err := os.ReadFile(filepath.Join("..", "test", "testdata", "captures", "puppet-config-report-65-resources.json"))
	require.NoError(b, err)
	shape := schemas.ShapeOf(schemas.ConfigReport)
	b.Run("sketch", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			if _, err := schemas.Sketch(body, shape); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding/json", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			var doc any
			if err := json.Unmarshal(body, &doc); err != nil {
				b.Fatal(err)
			}
		}
	})
}

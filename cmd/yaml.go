package cmd

import (
	"encoding/json"
	"strings"

	"github.com/goccy/go-yaml"
)

// toYAML is JSON text as YAML, with the same names in the same order.
func toYAML(text []byte) ([]byte, error) {
	var v any
	if err := yaml.UnmarshalWithOptions(text, &v, yaml.UseOrderedMap()); err != nil {
		return nil, err
	}
	return yaml.Marshal(quoteStrings(v))
}

// quoteStrings has every string quoted that is not plainly one word. What comes
// from outside may look like YAML, or hold what a stream of it may not (derived
// keys do); the encoder by itself does not quote all of that.
func quoteStrings(v any) any {
	switch v := v.(type) {
	case yaml.MapSlice:
		for i := range v {
			v[i].Value = quoteStrings(v[i].Value)
		}
	case []any:
		for i := range v {
			v[i] = quoteStrings(v[i])
		}
	case string:
		if !isWord(v) {
			return quoted(v)
		}
	}
	return v
}

// isWord: words like no and null the encoder does quote.
func isWord(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	return s != "" && strings.Contains(letters, s[:1]) && strings.Trim(s, letters+"0123456789-_./") == ""
}

// quoted is a string in double quotes.
type quoted string

// MarshalYAML implements yaml.BytesMarshaler: JSON's strings are YAML's.
func (q quoted) MarshalYAML() ([]byte, error) { return json.Marshal(string(q)) }

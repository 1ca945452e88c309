package foreman

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

func TestYAMLAsPuppetWritesIt(t *testing.T) {
	value, err := parseYAML([]byte(`--- !ruby/object:Puppet::Transaction::Report
host: web.example.com
status: !ruby/sym changed
level: :notice
quoted: ':kept'
time: 2026-11-23 16:31:58.897826048 Z
n: 12
f: 3.6674e-05
i: .inf
no: ~
flag: true
text: |
  two
  lines
shared: &1
- a
- b
again: *1
metric: !ruby/object:Puppet::Util::Metric
  values:
  - - total
    - Total
    - 72
? key
: value
host: web2.example.com
`))
	require.NoError(t, err)
	text, err := json.Marshal(value)
	require.NoError(t, err)
	require.Equal(t, `{"host":"web2.example.com","status":"changed","level":"notice","quoted":":kept","time":"2026-11-23 16:31:58.897826048 Z",`+
		`"n":12,"f":0.000036674,"i":null,"no":null,"flag":true,"text":"two\nlines\n","shared":["a","b"],"again":["a","b"],`+
		`"metric":{"values":[["total","Total",72]]},"key":"value"}`, string(text))
}

// What takes no more space than this on the wire must not take the drain's
// memory or stack.
func TestYAMLIsBounded(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for i, name := range "bcdefghijk" {
		before := string(rune('a' + i))
		bomb += string(name) + ": &" + string(name) + " [" + strings.TrimSuffix(strings.Repeat("*"+before+",", 10), ",") + "]\n"
	}
	deep := 1 << 17
	for name, text := range map[string]string{
		"an alias bomb":          bomb,
		"a long text repeated":   "a: &a " + strings.Repeat("x", 1<<20) + "\nb: [" + strings.TrimSuffix(strings.Repeat("*a,", 20), ",") + "]\n",
		"an alias of itself":     "a: &a [*a]\n",
		"no such anchor":         "a: *b\n",
		"brackets":               strings.Repeat("[", deep),
		"braces":                 strings.Repeat("{a: ", deep),
		"entries on a line":      strings.Repeat("- ", deep),
		"keys on a line":         strings.Repeat("? ", deep),
		"values on a line":       strings.Repeat("- a: ", deep),
		"tags":                   strings.Repeat("!a ", deep) + "b",
		"tags on lines":          strings.Repeat("!a\n", deep) + "b",
		"anchors":                strings.Repeat("&a ", deep) + "b",
		"deep by indentation":    deepLines(2 * maxYAMLDepth),
		"nothing":                "",
		"no YAML":                "a: b: c\n\t- [",
		"an unfinished sequence": "a: [1, 2",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseYAML([]byte(text))
			require.Error(t, err)
			require.LessOrEqual(t, len(err.Error()), 400)
		})
	}
}

func deepLines(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

// The host is found without reading the report, and only where Puppet writes it.
func TestYAMLHost(t *testing.T) {
	for text, want := range map[string]string{
		"--- !ruby/object:X\nhost: web.example.com\r\ntime: 1\n":  "web.example.com",
		"---\nlogs:\n- host: other\nhost: 'Quoted.Example.COM'\n": "Quoted.Example.COM",
		"host: \"a\\x62c\" # it\n":                                "abc",
		"host:\nhost: second\n":                                   "second",
		"--- a\n  host: inside\n":                                 "",
		"host: [a]\n":                                             "",
		"host: ' '\n":                                             "",
		"host: " + strings.Repeat("x", 2000) + "\n":               "",
		"hostname: a\n":                                           "",
		"":                                                        "",
	} {
		got, ok := yamlHost(relay.Request{Body: []byte(text)})
		assert.Equal(t, want, got, text)
		assert.Equal(t, want != "", ok, text)
	}
}

// FuzzYAML: no text makes reading it panic or run away.
func FuzzYAML(f *testing.F) {
	f.Add([]byte("--- !ruby/object:Puppet::Transaction::Report\nhost: a\nlogs:\n- level: !ruby/sym err\n"))
	f.Add([]byte("a: &a [*a, {b: *c}]\n? - ? x\n"))
	f.Fuzz(func(_ *testing.T, text []byte) {
		if value, err := parseYAML(text); err == nil {
			_, _ = json.Marshal(value)
		}
		_, _ = yamlHost(relay.Request{Body: text})
	})
}

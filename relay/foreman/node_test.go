package foreman

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheckNode(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want string // nothing: it is a node
	}{
		"classes and parameters":  {"---\nclasses:\n  ntp:\nparameters:\n  a: b\nenvironment: production\n", ""},
		"parameters alone":        {"parameters: {}\n", ""},
		"classes alone":           {"classes: []\n", ""},
		"with a class of Ruby's":  {"--- !ruby/hash:ActiveSupport::HashWithIndifferentAccess\nclasses: {}\n", ""},
		"with aliases":            {"--- &1\nparameters: {a: &2 [x], b: *2}\nself: *1\n", ""},
		"with long keys and text": {"---\nparameters:\n  ? |\n    long\n  : v\n  cert: |\n    -----BEGIN-----\n    a: b\n  fold: \"a \\\n    b\"\nclasses:\n", ""},
		"a symbol for a key":      {"---\n:sym: :val\nclasses: {}\n", ""},
		"nothing":                 {"", "not a YAML mapping"},
		"a comment":               {"# nothing\n", "not a YAML mapping"},
		"a word":                  {"maintenance", "not a YAML mapping"},
		"a page in one line":      {"<html><body>We are back soon: maintenance</body></html>", "neither classes nor parameters"},
		"a sentence":              {"Error: try again\n", "neither classes nor parameters"},
		"classes further down":    {"a:\n  classes: {}\n", "neither classes nor parameters"},
		"a list":                  {"- classes: {}\n", "not a YAML mapping"},
		"broken off":              {"---\nclasses:\n  a: \"b", "not YAML"},
		"a tab":                   {"classes:\n\ta: b\n", "not YAML"},
		"JSON of an error":        {`{"error":{"message":"no"}}`, "neither classes nor parameters"},
	} {
		err := checkNode([]byte(c.body))
		if c.want == "" {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorContains(t, err, c.want, name)
	}
}

// What would be enormous, or endless, when it is followed is not followed: this
// takes as long as reading it.
func TestABombOfANode(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x, x]\n")
	for i := range 40 {
		fmt.Fprintf(&bomb, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d]\n", i+1, i+1, i, i, i, i)
	}
	require.NoError(t, checkNode([]byte(bomb.String()+"classes: *a40\n")))
	for _, deep := range []string{strings.Repeat("[", 1<<20), strings.Repeat("{classes: ", 1<<16), strings.Repeat("- ", 1<<19)} {
		require.ErrorContains(t, checkNode([]byte(deep)), "not YAML")
	}
}

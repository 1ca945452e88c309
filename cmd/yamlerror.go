package cmd

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
)

// yamlError says where in the file something is wrong, and for an unknown key
// which known one may be meant.
func yamlError(path string, err error) error {
	where := path
	var located yaml.Error
	detail := err.Error()
	if errors.As(err, &located) {
		detail = located.GetMessage()
		if token := located.GetToken(); token != nil {
			where = fmt.Sprintf("%s:%d", path, token.Position.Line)
			if near := nearestKey(token.Value); near != "" && strings.Contains(detail, "unknown field") {
				detail += fmt.Sprintf("; did you mean %q?", near)
			}
		}
	}
	return fmt.Errorf("%s: %s (see `foreman-relay config show` for all keys)", where, strings.TrimSpace(detail))
}

// nearestKey is the known key that differs least from an unknown one, if any is
// near.
func nearestKey(unknown string) string {
	best, least := "", 3
	for _, key := range yamlKeys(reflect.TypeFor[Config]()) {
		if d := distance(unknown, key); d < least {
			best, least = key, d
		}
	}
	return best
}

func yamlKeys(t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		f := t.Field(i)
		keys = append(keys, strings.Split(f.Tag.Get("yaml"), ",")[0])
		if f.Type.Kind() == reflect.Struct {
			keys = append(keys, yamlKeys(f.Type)...)
		}
	}
	return keys
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}

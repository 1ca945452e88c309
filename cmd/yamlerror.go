package cmd

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
)

// yamlError says where a file is no YAML.
func yamlError(path string, err error) error {
	where, detail := path, err.Error()
	var located yaml.Error
	if errors.As(err, &located) {
		detail = located.GetMessage()
		if token := located.GetToken(); token != nil {
			where = fmt.Sprintf("%s:%d", path, token.Position.Line)
		}
	}
	return fmt.Errorf("%s: %s (see `foreman-relay config show` for the form)", where, strings.TrimSpace(detail))
}

// nearestKey is the known key that an unknown one may stand for, if any is near:
// misspelt, or in the wrong place.
func nearestKey(unknown string) string {
	parent, name := splitKey(unknown)
	best, least := "", -1
	for _, key := range yamlKeys(reflect.TypeFor[Config](), "") {
		itsParent, itsName := splitKey(key)
		d := distance(name, itsName)
		if d > max(1, min(2, len(itsName)/2)) {
			continue
		}
		d *= 2
		if parent != itsParent { // of two that are as near, the one beside it is meant
			d++
		}
		if least < 0 || d < least {
			best, least = key, d
		}
	}
	return best
}

func splitKey(key string) (parent, name string) {
	i := strings.LastIndexByte(key, '.')
	return key[:max(i, 0)], key[i+1:]
}

// yamlKeys are all keys of a configuration, those within others dotted.
func yamlKeys(t reflect.Type, parent string) []string {
	var keys []string
	for i := range t.NumField() {
		f := t.Field(i)
		key := dotted(parent, yamlName(f))
		keys = append(keys, key)
		switch kind := f.Type.Kind(); {
		case kind == reflect.Struct:
			keys = append(keys, yamlKeys(f.Type, key)...)
		case kind == reflect.Map && f.Type.Elem() == reflect.TypeFor[RouteConfig](): // else its keys are the operator's own
			for _, name := range knownRoutes() {
				keys = append(keys, yamlKeys(f.Type.Elem(), dotted(key, name))...)
			}
		case kind == reflect.Map && f.Type.Elem().Kind() == reflect.Struct:
			keys = append(keys, yamlKeys(f.Type.Elem(), dotted(key, "default"))...)
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

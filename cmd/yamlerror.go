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
	for _, key := range yamlKeys(reflect.TypeFor[Config](), "", own(parent)) {
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

// own is the name that an operator has given, in a key that holds one.
func own(parent string) string {
	_, name, _ := strings.Cut(parent, ".")
	return name
}

// yamlKeys are all keys of a configuration, those within others dotted. Where
// the operator chooses a name it is own.
func yamlKeys(t reflect.Type, parent, own string) []string {
	var keys []string
	for _, f := range yamlFields(t) {
		key := dotted(parent, yamlName(f))
		keys = append(keys, key)
		switch kind := f.Type.Kind(); {
		case kind == reflect.Struct:
			keys = append(keys, yamlKeys(f.Type, key, own)...)
		case f.Type == reflect.TypeFor[map[string]RouteConfig]():
			for _, name := range knownRoutes() {
				keys = append(keys, yamlKeys(f.Type.Elem(), dotted(key, name), own)...)
			}
		case f.Type == reflect.TypeFor[map[string]Destination]():
			keys = append(keys, yamlKeys(f.Type.Elem(), dotted(key, own), own)...)
		case f.Type == reflect.TypeFor[map[string]CredentialFiles]():
			keys = append(keys, yamlKeys(f.Type.Elem(), dotted(key, own), own)...)
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

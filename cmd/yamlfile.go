package cmd

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// checkYAML finds everything wrong with the keys and types of a configuration
// file, each with its file, line and full key: the decoder stops at the first,
// names Go's types, and takes 1.5 for an integer. An empty file sets nothing.
func checkYAML(path string, text []byte) (empty bool, err error) {
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return false, yamlError(path, err)
	}
	empty = true
	c := &yamlCheck{path: path}
	for i, document := range file.Docs {
		switch {
		case isEmpty(document.Body):
		case i > 0:
			c.say(document.Body, "a second document; a configuration is one")
		default:
			empty = false
			c.value(document.Body, reflect.TypeFor[Config](), "")
		}
	}
	return empty, errors.Join(c.problems...)
}

func isEmpty(n ast.Node) bool {
	return n == nil || n.Type() == ast.CommentType || n.Type() == ast.NullType
}

type yamlCheck struct {
	path     string
	problems []error
}

func (c *yamlCheck) say(n ast.Node, format string, args ...any) {
	c.problems = append(c.problems, fmt.Errorf("%s:%d: %s", c.path, n.GetToken().Position.Line, fmt.Sprintf(format, args...)))
}

// value holds one value against the type it is for.
func (c *yamlCheck) value(n ast.Node, t reflect.Type, key string) {
	if anchor, ok := n.(*ast.AnchorNode); ok {
		n = anchor.Value
	}
	if n.Type() == ast.NullType || n.Type() == ast.AliasType { // nothing to see; the decoder resolves an alias
		return
	}
	switch t.Kind() {
	case reflect.Pointer:
		c.value(n, t.Elem(), key)
	case reflect.Struct:
		c.mapping(n, t, key)
	case reflect.Slice:
		c.sequence(n, t, key)
	case reflect.Map:
		if t.Elem() == reflect.TypeFor[RouteConfig]() {
			c.routes(n, t.Elem(), key)
		} else {
			c.table(n, t, key)
		}
	default:
		c.scalar(n, t, key)
	}
}

func (c *yamlCheck) mapping(n ast.Node, t reflect.Type, key string) {
	m, ok := n.(ast.MapNode)
	if !ok {
		if key == "" {
			c.say(n, "write keys and values here, as `foreman-relay config show` does")
		} else {
			c.say(n, "%s holds keys of its own: write them below it, as `foreman-relay config show` does", key)
		}
		return
	}
	for i := m.MapRange(); i.Next(); {
		name := i.Key().GetToken().Value
		field, known := fieldOf(t, name)
		if !known {
			c.unknown(i.Key(), dotted(key, name))
			continue
		}
		c.value(i.Value(), field.Type, dotted(key, name))
	}
}

// routes holds the mapping whose keys are routes.
func (c *yamlCheck) routes(n ast.Node, t reflect.Type, key string) {
	m, ok := n.(ast.MapNode)
	if !ok {
		c.say(n, "%s holds a route a key, for example facts: write them below it", key)
		return
	}
	for i := m.MapRange(); i.Next(); {
		name := i.Key().GetToken().Value
		if !slices.Contains(knownRoutes(), name) {
			c.say(i.Key(), "%s: %v", key, unknownRoute(name))
			continue
		}
		c.value(i.Value(), t, dotted(key, name))
	}
}

// table holds a mapping whose keys are names of the operator's own.
func (c *yamlCheck) table(n ast.Node, t reflect.Type, key string) {
	m, ok := n.(ast.MapNode)
	if !ok {
		c.say(n, "%s holds names and their values: write them below it, a line each", key)
		return
	}
	for i := m.MapRange(); i.Next(); {
		c.value(i.Value(), t.Elem(), dotted(key, i.Key().GetToken().Value))
	}
}

func (c *yamlCheck) unknown(n ast.Node, key string) {
	if near := nearestKey(key); near != "" {
		c.say(n, "unknown key %q; did you mean %q?", key, near)
		return
	}
	c.say(n, "unknown key %q; `foreman-relay config show` prints all there are", key)
}

func (c *yamlCheck) sequence(n ast.Node, t reflect.Type, key string) {
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		c.say(n, "%s must be a list, for example [one, two]", key)
		return
	}
	for i, v := range s.Values {
		c.value(v, t.Elem(), fmt.Sprintf("%s[%d]", key, i))
	}
}

func (c *yamlCheck) scalar(n ast.Node, t reflect.Type, key string) {
	if _, ok := n.(ast.ScalarNode); !ok {
		c.say(n, "%s must be a single value, not a list or further keys", key)
		return
	}
	text := n.GetToken().Value
	switch t {
	case reflect.TypeFor[time.Duration]():
		if _, err := time.ParseDuration(text); err != nil {
			c.say(n, "%s is %q; write a time with its unit, for example 30s, 5m or 24h", key, text)
		}
	case reflect.TypeFor[ByteSize]():
		if _, err := ParseByteSize(text); err != nil {
			c.say(n, "%s: %v", key, err)
		}
	case reflect.TypeFor[bool]():
		if n.Type() != ast.BoolType {
			c.say(n, "%s is %q; write true or false", key, text)
		}
	case reflect.TypeFor[int]():
		if n.Type() != ast.IntegerType {
			c.say(n, "%s is %q; write a whole number", key, text)
		}
	case reflect.TypeFor[float64]():
		if n.Type() != ast.IntegerType && n.Type() != ast.FloatType {
			c.say(n, "%s is %q; write a number, for example 2.5", key, text)
		}
	}
}

// fieldOf finds the field that a key of the file sets.
func fieldOf(t reflect.Type, name string) (reflect.StructField, bool) {
	for _, f := range yamlFields(t) {
		if yamlName(f) == name {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

// yamlFields are the fields of a mapping, those of embedded ones among them.
func yamlFields(t reflect.Type) []reflect.StructField {
	var all []reflect.StructField
	for i := range t.NumField() {
		if f := t.Field(i); f.Anonymous {
			all = append(all, yamlFields(f.Type)...)
		} else if f.IsExported() {
			all = append(all, f)
		}
	}
	return all
}

func yamlName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return name
}

func dotted(parent, name string) string {
	if parent == "" {
		return name
	}
	return parent + "." + name
}

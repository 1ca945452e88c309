package schemas

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Validate checks a document, as encoding/json decodes it into an any (with or
// without UseNumber), against the schema of this name. No violation means that
// the document may be kept. An unknown name is itself a violation: what cannot
// be checked is not waved through.
func Validate(name string, doc any) []Violation {
	schema, err := lookUp(name)
	if err != nil {
		return []Violation{{Message: err.Error()}}
	}
	err = schema.rules.Validate(doc)
	if err == nil {
		return nil
	}
	var failed *jsonschema.ValidationError
	if !errors.As(err, &failed) {
		return []Violation{{Message: "the document cannot be checked: " + err.Error()}}
	}
	return schema.violations(failed)
}

// schema is a compiled schema with the demand that it makes at each pointer.
type schema struct {
	rules   *jsonschema.Schema
	demands map[string]string
}

// catalogue is every schema by name, or why there is none.
type catalogue struct {
	schemas map[string]schema
	err     error
}

// compiled compiles the schemas when the first document arrives: a command that
// checks nothing does not pay for it.
var compiled = sync.OnceValue(func() catalogue {
	c := catalogue{schemas: make(map[string]schema)}
	for _, name := range Names() {
		s, err := compile(name)
		if err != nil {
			return catalogue{err: fmt.Errorf("the schema %s does not compile: %w", name, err)}
		}
		c.schemas[name] = s
	}
	return c
})

func lookUp(name string) (schema, error) {
	c := compiled()
	if c.err != nil {
		return schema{}, c.err
	}
	s, ok := c.schemas[name]
	if !ok {
		return schema{}, fmt.Errorf("there is no schema named %s", quoted(name))
	}
	return s, nil
}

func compile(name string) (schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Source(name)))
	if err != nil {
		return schema{}, err
	}
	url := "urn:foreman-relay:schema:" + name
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat() // draft 2020-12 takes "format" for a mere remark otherwise
	compiler.RegisterFormat(&jsonschema.Format{Name: reportedAtFormat, Validate: checkReportedAt})
	if err := compiler.AddResource(url, doc); err != nil {
		return schema{}, err
	}
	rules, err := compiler.Compile(url)
	if err != nil {
		return schema{}, err
	}
	s := schema{rules: rules, demands: make(map[string]string)}
	s.collect("", rules)
	return s, nil
}

// collect takes the demands from the descriptions in the schema, so that what a
// refused sender reads and what the API's page says are one text.
func (s schema) collect(pointer string, rules *jsonschema.Schema) {
	s.demands[pointer] = rules.Description
	for name, below := range rules.Properties {
		s.collect(pointer+"/"+escape(name), below)
	}
}

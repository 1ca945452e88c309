package foreman

import (
	"errors"

	"go.yaml.in/yaml/v3"
)

// checkNode says whether a body is what an ENC answers: one YAML mapping with
// classes or parameters. The ENC script writes whatever comes with a 200 over
// its cache, and a sentence with a colon in it is a mapping too.
//
// The body is parsed as Ruby does, by the rules of libyaml, and only to nodes:
// aliases are not followed, and the depth has a bound.
func checkNode(body []byte) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(body, &doc); err != nil {
		return errors.New("it is not YAML") // the parser's words repeat some of it
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return errors.New("it is not a YAML mapping")
	}
	keys := doc.Content[0].Content
	for i := 0; i < len(keys); i += 2 {
		if keys[i].Value == "classes" || keys[i].Value == "parameters" {
			return nil
		}
	}
	return errors.New("it has neither classes nor parameters")
}

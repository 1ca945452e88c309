package schemas_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/schemas"
)

func TestNames(t *testing.T) {
	assert.Equal(t, []string{"ansible_report", "arf_report", "callback", "config_report", "facts", "handshake", "host_report", "salt_job"}, schemas.Names())
	assert.True(t, slices.IsSorted(schemas.Names()))
	for _, name := range schemas.Names() {
		assert.True(t, schemas.Known(name))
	}
	for _, name := range []string{"", "Facts", "facts.json", "../facts"} {
		assert.False(t, schemas.Known(name))
		assert.Nil(t, schemas.Source(name))
	}
}

func TestSourceIsDraft202012AndACopy(t *testing.T) {
	for _, name := range schemas.Names() {
		var head struct {
			Schema string `json:"$schema"`
			ID     string `json:"$id"`
		}
		source := schemas.Source(name)
		require.NoError(t, json.Unmarshal(source, &head), name)
		assert.Equal(t, "https://json-schema.org/draft/2020-12/schema", head.Schema)
		assert.Equal(t, "urn:foreman-relay:schema:"+name, head.ID)
		clear(source)
		assert.NotEqual(t, source, schemas.Source(name), "the caller owns its copy")
	}
}

// What a refused sender reads ends with the demand that the schema's text makes
// at that place, so every place needs one.
func TestEveryPlaceHasADemand(t *testing.T) {
	for _, name := range schemas.Names() {
		var root map[string]any
		require.NoError(t, json.Unmarshal(schemas.Source(name), &root))
		requireDemands(t, name, root)
	}
}

func requireDemands(t *testing.T, at string, schema map[string]any) {
	t.Helper()
	assert.Regexp(t, `^Must be .*\.$`, schema["description"], at)
	properties, _ := schema["properties"].(map[string]any)
	for name, below := range properties {
		requireDemands(t, at+"/"+name, below.(map[string]any))
	}
}

package schemas

import (
	"fmt"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"github.com/stretchr/testify/assert"
)

func TestViolationsAreSortedAndBounded(t *testing.T) {
	missing := &kind.Required{}
	for i := 99; i >= 0; i-- {
		missing.Missing = append(missing.Missing, fmt.Sprintf("m%02d", i))
	}
	got := schema{}.violations(&jsonschema.ValidationError{
		ErrorKind: &kind.Group{},
		Causes:    []*jsonschema.ValidationError{{ErrorKind: missing}},
	})
	assert.Len(t, got, maxViolations)
	assert.Equal(t, Violation{Pointer: "/m00", Message: `"m00" is missing`}, got[0])
	assert.Equal(t, "/m09", got[9].Pointer)
}

func TestPointersAreEscaped(t *testing.T) {
	got := schema{}.violations(&jsonschema.ValidationError{
		InstanceLocation: []string{"a/b", "c~1d"},
		ErrorKind:        &kind.Required{Missing: []string{"~/"}},
	})
	assert.Equal(t, []Violation{{Pointer: "/a~1b/c~01d/~0~1", Message: `"~/" is missing`}}, got)
}

func TestEveryKeywordHasWords(t *testing.T) {
	got := schema{}.violations(&jsonschema.ValidationError{ErrorKind: &kind.MaxItems{Got: 2, Want: 1}})
	assert.Equal(t, []Violation{{Message: "the document breaks the rule maxItems"}}, got)
}

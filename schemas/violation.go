package schemas

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// maxViolations bounds what one refused document is told.
const maxViolations = 10

// Violation is one reason why a document is refused.
type Violation struct {
	// Pointer (RFC 6901) leads to the member at fault, or to where a missing
	// one belongs; "" is the whole document.
	Pointer string `json:"pointer"`
	// Message says in plain words what is wrong and what is expected instead.
	Message string `json:"message"`
}

// violations puts the failure tree of the library into words: the leaves are
// the reasons, sorted by pointer, since the library visits maps in any order.
func (s schema) violations(failed *jsonschema.ValidationError) []Violation {
	var found []Violation
	s.gather(failed, &found)
	slices.SortFunc(found, func(a, b Violation) int {
		return cmp.Or(strings.Compare(a.Pointer, b.Pointer), strings.Compare(a.Message, b.Message))
	})
	return found[:min(len(found), maxViolations)]
}

func (s schema) gather(failed *jsonschema.ValidationError, found *[]Violation) {
	for _, cause := range failed.Causes {
		s.gather(cause, found)
	}
	if len(failed.Causes) > 0 {
		return
	}
	at := pointer(failed.InstanceLocation)
	required, ok := failed.ErrorKind.(*kind.Required)
	if !ok {
		*found = append(*found, s.violation(at, problem(failed.ErrorKind)))
		return
	}
	for _, name := range required.Missing {
		*found = append(*found, s.violation(at+"/"+escape(name), "is missing"))
	}
}

// violation joins what is wrong with what the schema demands at that place.
func (s schema) violation(at, problem string) Violation {
	message := subject(at) + " " + problem
	if demand := s.demands[at]; demand != "" {
		message += ": it " + lowerFirst(strings.TrimSuffix(demand, "."))
	}
	return Violation{Pointer: at, Message: message}
}

// visible is the pattern that asks for a visible character.
const visible = `\S`

func problem(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.Type:
		return "is " + withArticle(k.Got)
	case *kind.MinLength:
		return "is empty"
	case *kind.Pattern:
		if k.Want != visible {
			return "does not match " + k.Want
		}
		return "is empty or only white space"
	case *kind.AdditionalProperties:
		slices.Sort(k.Properties)
		return "has " + quoted(k.Properties[0]) + ", which is not known here"
	case *kind.Format:
		text, _ := k.Got.(string)
		return "is " + quoted(text) + ", which has no date and time that can be read"
	case *kind.InvalidJsonValue:
		return fmt.Sprintf("is a %T, which is not a JSON value", k.Value)
	default:
		return "breaks the rule " + strings.Join(k.KeywordPath(), "/")
	}
}

// subject names the last member on the way, which is what a reader looks for.
func subject(pointer string) string {
	if pointer == "" {
		return "the document"
	}
	return quoted(unescape(pointer[strings.LastIndexByte(pointer, '/')+1:]))
}

func withArticle(jsonType string) string {
	switch jsonType {
	case "null":
		return jsonType
	case "array", "object":
		return "an " + jsonType
	default:
		return "a " + jsonType
	}
}

// quoted repeats a sender's text back, bounded and without control characters.
func quoted(text string) string {
	const limit = 40
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "…"
	}
	return fmt.Sprintf("%q", text)
}

func lowerFirst(text string) string {
	r, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToLower(r)) + text[size:]
}

func pointer(location []string) string {
	var b strings.Builder
	for _, token := range location {
		b.WriteByte('/')
		b.WriteString(escape(token))
	}
	return b.String()
}

// escape and unescape are those of RFC 6901, section 3.
func escape(token string) string {
	return strings.ReplaceAll(strings.ReplaceAll(token, "~", "~0"), "/", "~1")
}

func unescape(token string) string {
	return strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
}

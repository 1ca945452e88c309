package foreman

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/theforeman/foreman-relay/relay"
)

// Limits of a YAML document: an alias may stand for what holds aliases itself,
// and a parser goes down one call a level.
const (
	maxYAMLDepth = 64
	maxYAMLNodes = 1 << 20
	maxYAMLText  = 2 * maxBody // bytes, with what aliases repeat
	// maxYAMLMarks bounds what divides a text into tokens, each of which costs the
	// parser some 400 bytes. A report of Puppet has 12 in 100 bytes, whatever its
	// size.
	maxYAMLMarks = 3 << 18
	// maxYAMLMembers bounds the members of one mapping and the sequences within
	// sequences: for those the parser's time grows with the square, a second for
	// so many. The largest mapping of a report is that of its resources.
	maxYAMLMembers = 1 << 14
)

// yamlMarks are the bytes that begin or end a token.
const yamlMarks = ",:\n[]{}?!&*'\"#|>"

// object is a YAML mapping in the order in which it was written.
type object struct {
	keys   []string
	values map[string]any
}

func (o *object) get(key string) any {
	if o == nil {
		return nil
	}
	return o.values[key]
}

func (o *object) set(key string, value any) {
	if _, known := o.values[key]; !known {
		o.keys = append(o.keys, key)
	}
	o.values[key] = value
}

// MarshalJSON keeps the order.
func (o *object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, key := range o.keys {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(key)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(o.values[key])
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// parseYAML reads the first document of a text: mappings as *object, sequences
// as []any, and scalars. Tags are passed over, Ruby's among them: what is tagged
// is read as what it is written as.
func parseYAML(text []byte) (any, error) {
	if err := checkMarks(text); err != nil {
		return nil, err
	}
	tokens := lexer.Tokenize(string(text))
	if err := errors.Join(checkNesting(tokens), checkMembers(tokens)); err != nil {
		return nil, err
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, yamlProblem(err)
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		return nil, errors.New("the body holds no YAML document")
	}
	r := &yamlReader{anchors: map[string]ast.Node{}}
	value := r.read(file.Docs[0].Body, 0)
	return value, r.err
}

// checkMarks refuses what would become too many tokens, before any is made.
func checkMarks(text []byte) error {
	marks := bytes.Count(text, []byte("- "))
	for _, c := range []byte(yamlMarks) {
		marks += bytes.Count(text, []byte{c})
	}
	if marks > maxYAMLMarks {
		return fmt.Errorf("the YAML has more than %d values and marks", maxYAMLMarks)
	}
	return nil
}

// yamlProblem says what and where, in its own words: the parser's error text
// repeats the document around it, and takes minutes for a large one.
func yamlProblem(err error) error {
	var found interface {
		GetMessage() string
		GetToken() *token.Token
	}
	if !errors.As(err, &found) || found.GetToken() == nil {
		return errors.New("the body is not YAML")
	}
	return fmt.Errorf("the body is not YAML: line %d: %.200s", found.GetToken().Position.Line, found.GetMessage())
}

// checkNesting refuses what would send the parser down too deep. By indentation
// alone nothing goes deep: each level needs a longer line.
func checkNesting(tokens token.Tokens) error {
	flow, onLine, marks, line := 0, 0, 0, 0
	for _, t := range tokens {
		if t.Position.Line != line {
			onLine, line = 0, t.Position.Line
		}
		isMark := t.Type == token.TagType || t.Type == token.AnchorType || t.PreviousType() == token.AnchorType // the anchor's name
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType, token.MappingKeyType, token.MappingValueType:
			if flow <= 0 {
				onLine++
			}
		}
		if marks++; !isMark {
			marks = 0
		}
		if max(flow, onLine, marks) > maxYAMLDepth {
			return tooDeep()
		}
	}
	return nil
}

// checkMembers refuses what would take the parser too long.
func checkMembers(tokens token.Tokens) error {
	members := map[int]int{} // of the mapping that is open at a column
	largest, inner, line := 0, 0, 0
	for _, t := range tokens {
		first := t.Position.Line != line
		line = t.Position.Line
		if first {
			maps.DeleteFunc(members, func(column, _ int) bool { return column > t.Position.Column })
		}
		switch {
		case t.Type == token.SequenceEntryType && !first:
			inner++
		case t.Type == token.MappingValueType && t.Prev != nil:
			members[t.Prev.Position.Column]++
			largest = max(largest, members[t.Prev.Position.Column])
		}
		if max(largest, inner) > maxYAMLMembers {
			return fmt.Errorf("the YAML has a mapping of more than %d members, or as many sequences in sequences", maxYAMLMembers)
		}
	}
	return nil
}

func tooDeep() error {
	return fmt.Errorf("the YAML is nested more than %d levels deep", maxYAMLDepth)
}

// yamlReader turns nodes into values, until a limit is reached.
type yamlReader struct {
	anchors map[string]ast.Node
	nodes   int
	text    int
	err     error
}

func (r *yamlReader) read(n ast.Node, depth int) any {
	r.nodes++
	switch {
	case r.err != nil:
		return nil
	case depth > maxYAMLDepth:
		r.err = tooDeep()
		return nil
	case r.nodes > maxYAMLNodes || r.text > maxYAMLText:
		r.err = fmt.Errorf("the YAML is more than %d values or %d bytes with all its aliases", maxYAMLNodes, maxYAMLText)
		return nil
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		o := &object{values: make(map[string]any, len(n.Values))}
		for _, pair := range n.Values {
			r.pair(o, pair, depth)
		}
		return o
	case *ast.MappingValueNode:
		o := &object{values: map[string]any{}}
		r.pair(o, n, depth)
		return o
	case *ast.SequenceNode:
		list := make([]any, 0, len(n.Values))
		for _, v := range n.Values {
			list = append(list, r.read(v, depth+1))
		}
		return list
	case *ast.TagNode:
		return r.read(n.Value, depth+1)
	case *ast.AnchorNode:
		r.anchors[name(n.Name)] = n.Value
		return r.read(n.Value, depth+1)
	case *ast.AliasNode:
		target, ok := r.anchors[name(n.Value)]
		if !ok {
			r.err = fmt.Errorf("the YAML has an alias %.40q without its anchor", name(n.Value))
			return nil
		}
		return r.read(target, depth+1)
	default:
		return r.scalar(n)
	}
}

func (r *yamlReader) pair(o *object, pair *ast.MappingValueNode, depth int) {
	key := r.read(pair.Key, depth+1)
	o.set(fmt.Sprint(key), r.read(pair.Value, depth+1))
}

func (r *yamlReader) scalar(n ast.Node) any {
	switch n := n.(type) {
	case *ast.MappingKeyNode:
		return r.read(n.Value, maxYAMLDepth) // a key is a scalar
	case *ast.StringNode:
		r.text += len(n.Value)
		if n.Token.Type == token.StringType { // :notice is a symbol of Ruby, and meant as its name
			return strings.TrimPrefix(n.Value, ":")
		}
		return n.Value
	case *ast.LiteralNode:
		r.text += len(n.Value.Value)
		return n.Value.Value
	case *ast.IntegerNode:
		return n.Value
	case *ast.FloatNode:
		if math.IsInf(n.Value, 0) || math.IsNaN(n.Value) {
			return nil // JSON has none
		}
		return n.Value
	case *ast.BoolNode:
		return n.Value
	default:
		return nil
	}
}

func name(n ast.Node) string {
	if n == nil {
		return ""
	}
	return n.GetToken().Value
}

// yamlHost is the host of a Puppet report, read without parsing all of it: its
// own line, as Puppet writes it.
func yamlHost(q relay.Request) (string, bool) {
	for _, host := range yamlHosts(q) {
		if host != "" {
			return host, true
		}
	}
	return "", false
}

// yamlHosts are the hosts that a Puppet report names, as yamlHost finds them. A
// line that cannot be read by itself, and what is beyond the lines that are tried,
// names a host without a name. What the whole document says may be something else
// still: hostReportDelivery refuses that.
func yamlHosts(q relay.Request) []string {
	var hosts []string
	for line := range bytes.Lines(q.Body) {
		rest, found := bytes.CutPrefix(line, []byte("host:"))
		if !found {
			continue
		}
		if len(hosts) == maxHostLines { // Puppet writes one
			return append(hosts, "")
		}
		hosts = append(hosts, hostOfLine(rest))
	}
	return hosts
}

func hostOfLine(rest []byte) string {
	if len(rest) > maxHostLine {
		return ""
	}
	value, err := parseYAML(rest)
	host, _ := value.(string)
	if err != nil || strings.TrimSpace(host) == "" {
		return ""
	}
	return host
}

// maxHostLines is how many lines are tried.
const maxHostLines = 8

// maxHostLine is more than any host's name takes, in bytes.
const maxHostLine = 1024

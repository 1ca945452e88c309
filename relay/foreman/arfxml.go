package foreman

import (
	"bytes"
	"compress/bzip2"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Limits of an ARF. The measured ones are 2 to 9 MB of XML; 45 bytes of bzip2
// can be a gigabyte.
const (
	maxARF      = 128 << 20 // bytes of XML
	maxARFText  = 32 << 20  // bytes of it that are kept
	maxARFDepth = 256       // elements in each other
	maxARFToken = 2 << 20   // bytes of one piece of text, or of one tag with its attributes

	// What an element that is kept costs besides its text, in bytes.
	arfElement = 200
)

// xccdf is the namespace of what is read of an ARF: the benchmark's rules and
// the results of the test.
const xccdf = "http://checklists.nist.gov/xccdf/"

// arfRule is what a benchmark says of a rule.
type arfRule struct {
	title, description, rationale, severity string
	references                              []arfReference
	fixes                                   []arfFix
}

type arfReference struct {
	Href  string `json:"href"`
	Title string `json:"title"`
}

// arfFix is a script that repairs; pieces is its text, with the names of values
// in every second place.
type arfFix struct {
	id, system, reboot string
	pieces             []string
}

// arfTest is a whole report, as far as it is needed.
type arfTest struct {
	rules   map[string]*arfRule
	values  map[string]string
	results [][2]string // rule, result
	score   *float64
}

// readARF reads a bzip2 ARF from beginning to end, keeping only what is needed.
func readARF(ctx context.Context, packed []byte) (*arfTest, error) {
	r := &arfReader{test: &arfTest{rules: map[string]*arfRule{}, values: map[string]string{}}}
	source := &boundedReader{ctx: ctx, from: bzip2.NewReader(bytes.NewReader(packed)), left: maxARF}
	r.source, r.decoder = source, xml.NewDecoder(source)
	r.decoder.CharsetReader = func(charset string, _ io.Reader) (io.Reader, error) {
		return nil, fmt.Errorf("it is in %.40q, not in UTF-8", charset)
	}
	err := r.document()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, fmt.Errorf("the body is no ARF report that can be read: %w", err)
	case !r.tested:
		return nil, errors.New("the body is no ARF report: it holds no TestResult")
	}
	return r.test, nil
}

// boundedReader ends with an error where a report or one token of it is too long,
// or the attempt has ended.
type boundedReader struct {
	ctx   context.Context //nolint:containedctx // io.Reader has no place for it
	from  io.Reader
	left  int64
	token int64 // read since the last token; the decoder holds it all
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	if b.left <= 0 {
		return 0, fmt.Errorf("it is more than %d bytes long", maxARF)
	}
	if b.token > maxARFToken {
		return 0, fmt.Errorf("a tag or a piece of text in it is more than %d bytes long", maxARFToken)
	}
	n, err := b.from.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	b.token += int64(n)
	return n, err
}

// arfReader goes through the document once.
type arfReader struct {
	source  *boundedReader
	decoder *xml.Decoder
	test    *arfTest
	depth   int
	kept    int
	tested  bool
}

// next is the next token, within the limits.
func (r *arfReader) next() (xml.Token, error) {
	r.source.token = 0
	t, err := r.decoder.Token()
	switch t.(type) {
	case xml.StartElement:
		if r.depth++; r.depth > maxARFDepth {
			return nil, fmt.Errorf("its elements are nested more than %d deep", maxARFDepth)
		}
	case xml.EndElement:
		r.depth--
	}
	return t, err
}

func (r *arfReader) document() error {
	for {
		t, err := r.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		start, ok := t.(xml.StartElement)
		if !ok || !strings.HasPrefix(start.Name.Space, xccdf) {
			continue
		}
		switch start.Name.Local {
		case "Rule":
			err = r.rule(start)
		case "TestResult":
			err = r.result()
		}
		if err != nil {
			return err
		}
	}
}

// children calls f for each element in the one that was just begun; f may read
// it to its end.
func (r *arfReader) children(f func(xml.StartElement) error) error {
	for outside := r.depth - 1; r.depth > outside; {
		t, err := r.next()
		if err != nil {
			return unfinished(err)
		}
		if start, ok := t.(xml.StartElement); ok && r.depth == outside+2 {
			if err := f(start); err != nil {
				return err
			}
		}
	}
	return nil
}

func unfinished(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// text is all text in the element that was just begun.
func (r *arfReader) text() (string, error) {
	pieces, err := r.pieces()
	return strings.Join(pieces, ""), err
}

// pieces is the text in an element, cut at its sub elements, whose idref stands
// in every second place.
func (r *arfReader) pieces() ([]string, error) {
	var b strings.Builder
	var pieces []string
	for outside := r.depth - 1; r.depth > outside; {
		t, err := r.next()
		if err != nil {
			return nil, unfinished(err)
		}
		switch t := t.(type) {
		case xml.CharData:
			if err := r.keep(len(t)); err != nil {
				return nil, err
			}
			b.Write(t)
		case xml.StartElement:
			if t.Name.Local == "sub" {
				if err := r.keepAttributes(t); err != nil {
					return nil, err
				}
				pieces = append(pieces, b.String(), attribute(t, "idref"))
				b.Reset()
			}
		}
	}
	return append(pieces, b.String()), nil
}

// keep counts what is remembered.
func (r *arfReader) keep(n int) error {
	if r.kept += n; r.kept > maxARFText {
		return fmt.Errorf("its rules and results hold more than %d bytes of text", maxARFText)
	}
	return nil
}

// keepAttributes counts an element that is remembered, and what its attributes
// say.
func (r *arfReader) keepAttributes(e xml.StartElement) error {
	n := arfElement
	for _, a := range e.Attr {
		n += len(a.Value)
	}
	return r.keep(n)
}

func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name && a.Name.Space == "" {
			return a.Value
		}
	}
	return ""
}

func (r *arfReader) rule(start xml.StartElement) error {
	rule := &arfRule{severity: attribute(start, "severity")}
	id := attribute(start, "id")
	if err := r.keepAttributes(start); err != nil {
		return err
	}
	r.test.rules[id] = rule
	return r.children(func(e xml.StartElement) error {
		if err := r.keepAttributes(e); err != nil {
			return err
		}
		return r.ruleElement(rule, e)
	})
}

func (r *arfReader) ruleElement(rule *arfRule, e xml.StartElement) (err error) {
	switch e.Name.Local {
	case "title":
		rule.title, err = r.text()
	case "description":
		rule.description, err = r.flowing()
	case "rationale":
		rule.rationale, err = r.flowing()
	case "reference":
		ref := arfReference{Href: attribute(e, "href")}
		ref.Title, err = r.text()
		rule.references = append(rule.references, ref)
	case "fix":
		fix := arfFix{id: attribute(e, "id"), system: attribute(e, "system"), reboot: attribute(e, "reboot")}
		fix.pieces, err = r.pieces()
		rule.fixes = append(rule.fixes, fix)
	}
	return err
}

// flowing is a text whose lines are joined.
func (r *arfReader) flowing() (string, error) {
	s, err := r.text()
	lines := strings.FieldsFunc(s, func(c rune) bool { return c == '\n' })
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.TrimSpace(strings.Join(lines, " ")), err
}

func (r *arfReader) result() error {
	r.tested = true
	return r.children(func(e xml.StartElement) error {
		if err := r.keepAttributes(e); err != nil {
			return err
		}
		return r.resultElement(e)
	})
}

func (r *arfReader) resultElement(e xml.StartElement) (err error) {
	switch e.Name.Local {
	case "set-value":
		r.test.values[attribute(e, "idref")], err = r.text()
	case "score":
		var s string
		if s, err = r.text(); err == nil && r.test.score == nil {
			if score, bad := strconv.ParseFloat(strings.TrimSpace(s), 64); bad == nil {
				r.test.score = &score
			}
		}
	case "rule-result":
		err = r.ruleResult(attribute(e, "idref"))
	}
	return err
}

func (r *arfReader) ruleResult(rule string) error {
	result := ""
	err := r.children(func(e xml.StartElement) (err error) {
		if e.Name.Local == "result" {
			result, err = r.text()
		}
		return err
	})
	r.test.results = append(r.test.results, [2]string{rule, strings.TrimSpace(result)})
	return err
}

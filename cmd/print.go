package cmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// The forms of output; part of the public surface.
const (
	asTable = "table"
	asWide  = "wide"
	asJSON  = "json"
	asLines = "jsonl"
	asYAML  = "yaml"
	asCSV   = "csv"
	asName  = "name"
)

var outputs = [...]string{asTable, asWide, asJSON, asLines, asYAML, asCSV, asName}

// printer writes data to stdout in the form that was asked for.
type printer struct {
	w         io.Writer
	format    string
	noHeaders bool
	color     bool
}

// printer reads the flags that operatorFlags registers.
func (p *program) printer(c *cobra.Command) (*printer, error) {
	f := c.Flags()
	format, _ := f.GetString("output")
	noHeaders, _ := f.GetBool("no-headers")
	quiet, _ := f.GetBool("quiet")
	if !slices.Contains(outputs[:], format) {
		return nil, usage(fmt.Errorf("--output is %q; choose one of %s", format, strings.Join(outputs[:], ", ")))
	}
	if quiet {
		if f.Changed("output") && format != asName {
			return nil, usage(fmt.Errorf("--quiet prints names only, --output %s more than that; choose one", format))
		}
		format = asName
	}
	color, err := p.colors(c)
	return &printer{w: p.stdout, format: format, noHeaders: noHeaders, color: color}, err
}

// tabular: for people, not for programs.
func (p *printer) tabular() bool { return p.format == asTable || p.format == asWide }

// listing says how a kind of thing is listed.
type listing[T any] struct {
	name    func(T) string
	columns []column[T]
}

// column of a table; a wide one is shown by --output wide alone.
type column[T any] struct {
	header string
	cell   func(T) any
	wide   bool
}

// list prints rows: the values themselves for programs, as a table the cells.
func list[T any](p *printer, rows []T, l listing[T]) error {
	switch p.format {
	case asName:
		for _, row := range rows {
			if _, err := fmt.Fprintln(p.w, l.name(row)); err != nil {
				return err
			}
		}
		return nil
	case asLines:
		for _, row := range rows {
			if err := p.printLine(row); err != nil {
				return err
			}
		}
		return nil
	case asCSV:
		return writeCSV(p.w, rows, !p.noHeaders)
	case asYAML, asJSON:
		if rows == nil {
			rows = []T{}
		}
		return p.value(rows)
	}
	return p.printTable(l.header(p), l.cells(p, rows))
}

func (l listing[T]) shown(p *printer) []column[T] {
	return slices.DeleteFunc(slices.Clone(l.columns), func(c column[T]) bool { return c.wide && p.format != asWide })
}

func (l listing[T]) header(p *printer) []any {
	if p.noHeaders {
		return nil
	}
	var header []any
	for _, c := range l.shown(p) {
		header = append(header, c.header)
	}
	return header
}

func (l listing[T]) cells(p *printer, rows []T) [][]any {
	lines := make([][]any, 0, len(rows))
	for _, row := range rows {
		var line []any
		for _, c := range l.shown(p) {
			line = append(line, c.cell(row))
		}
		lines = append(lines, line)
	}
	return lines
}

// fields prints one thing, as a table a name and a value a line; what is empty
// is left out.
func fields[T any](p *printer, v T, name string, pairs ...any) error {
	switch p.format {
	case asName:
		_, err := fmt.Fprintln(p.w, name)
		return err
	case asLines:
		return p.printLine(v)
	case asCSV:
		return writeCSV(p.w, []T{v}, !p.noHeaders)
	case asYAML, asJSON:
		return p.value(v)
	}
	var lines [][]any
	for i := 0; i+1 < len(pairs); i += 2 {
		if text, _ := cellText(pairs[i+1]); text != "" {
			lines = append(lines, pairs[i:i+2])
		}
	}
	return p.printTable(nil, lines)
}

// value prints one value as JSON or YAML, with the same names.
func (p *printer) value(v any) error {
	if p.format != asYAML {
		return p.printJSON(v)
	}
	var text bytes.Buffer
	if err := (&printer{w: &text}).printJSON(v); err != nil {
		return err
	}
	out, err := toYAML(text.Bytes())
	if err != nil {
		return err
	}
	_, err = p.w.Write(out)
	return err
}

func (p *printer) printJSON(v any) error {
	e := json.NewEncoder(p.w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func (p *printer) printLine(v any) error {
	e := json.NewEncoder(p.w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// when prints a time, empty for none.
func when(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// age prints seconds as people say them.
func age(seconds float64) string {
	if seconds == 0 {
		return "-"
	}
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	default:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

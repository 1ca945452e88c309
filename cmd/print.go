package cmd

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// printer writes data to stdout in the form that was asked for.
type printer struct {
	w         io.Writer
	json      bool
	noHeaders bool
	quiet     bool
}

func (p *program) printer(c *cobra.Command) (*printer, error) {
	f := c.Flags()
	format, _ := f.GetString("output") // registered by operatorFlags
	noHeaders, _ := f.GetBool("no-headers")
	quiet, _ := f.GetBool("quiet")
	if format != "table" && format != "json" {
		return nil, usage(fmt.Errorf("--output is %q; choose table or json", format))
	}
	return &printer{w: p.stdout, json: format == "json", noHeaders: noHeaders, quiet: quiet}, nil
}

// list prints rows: as JSON the values themselves, as a table the cells.
func list[T any](p *printer, rows []T, headers string, name func(T) string, cells func(T) []any) error {
	if p.json {
		if rows == nil {
			rows = []T{}
		}
		return p.printJSON(rows)
	}
	t := tabwriter.NewWriter(p.w, 0, 4, 2, ' ', 0)
	if !p.noHeaders && !p.quiet {
		_, _ = fmt.Fprintln(t, strings.ReplaceAll(headers, " ", "\t")) // told by Flush
	}
	for _, row := range rows {
		if p.quiet {
			_, _ = fmt.Fprintln(t, name(row))
			continue
		}
		values := cells(row)
		_, _ = fmt.Fprintf(t, strings.Repeat("%v\t", len(values)-1)+"%v\n", values...)
	}
	return t.Flush()
}

func (p *printer) printJSON(v any) error {
	e := json.NewEncoder(p.w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// fields prints one thing, a name and a value a line.
func (p *printer) fields(v any, pairs ...any) error {
	if p.json {
		return p.printJSON(v)
	}
	t := tabwriter.NewWriter(p.w, 0, 4, 2, ' ', 0)
	for i := 0; i+1 < len(pairs); i += 2 {
		if s := fmt.Sprint(pairs[i+1]); s != "" {
			_, _ = fmt.Fprintf(t, "%v\t%s\n", pairs[i], s) // told by Flush
		}
	}
	return t.Flush()
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

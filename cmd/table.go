package cmd

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// printTable aligns cells, two spaces between columns. Colours have no width,
// and a cell stays on its line: what came from outside moves no cursor.
func (p *printer) printTable(header []any, lines [][]any) error {
	if header != nil {
		lines = append([][]any{header}, lines...)
	}
	var widths []int
	for _, line := range lines {
		for i, cell := range line {
			text, _ := cellText(cell)
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(text))
		}
	}
	var out strings.Builder
	for _, line := range lines {
		p.printCells(&out, line, widths)
	}
	_, err := fmt.Fprint(p.w, out.String())
	return err
}

func (p *printer) printCells(out *strings.Builder, line []any, widths []int) {
	for i, cell := range line {
		text, paint := cellText(cell)
		if p.color && paint != "" {
			out.WriteString(string(paint) + text + uncolored)
		} else {
			out.WriteString(text)
		}
		if i < len(line)-1 {
			out.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text)+2))
		}
	}
	out.WriteByte('\n')
}

// cellText is a cell's text on one line, and its colour.
func cellText(cell any) (text string, paint color) {
	if c, ok := cell.(colored); ok {
		cell, paint = c.value, c.color
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, fmt.Sprint(cell)), paint
}

package cmd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

func dlqImport(p *program) *cobra.Command {
	c := &cobra.Command{Use: "import [FILE]", Short: "Make dead letters of what `dlq export` wrote", Args: takesUpTo(1, "one file at most; none, or -, is stdin"),
		Long: "Make dead letters of what `dlq export` wrote, in this relay or another one with the same queues. A letter that is there already is left as it is, " +
			"so that an import that ended early can be given again.",
		Example: "  foreman-relay dlq import letters.jsonl\n  ssh edge1 foreman-relay dlq export | foreman-relay dlq import"}
	c.RunE = func(c *cobra.Command, args []string) error {
		return p.ask(c, func(ctx context.Context, o *handlers.Client, out *printer) error {
			file, err := inputOf(c.InOrStdin(), args)
			if err != nil {
				return err
			}
			defer func() { _ = file.Close() }() // it was only read
			stop, release := untilSignal(ctx)
			defer release()
			i := &letterImporter{note: p.note, printed: &rows[relay.ImportedLetter]{out: out, listing: importedLetterListing()},
				send: func(x relay.ExportedLetter) (relay.ImportedLetter, error) { return o.ImportDeadLetter(ctx, x) }}
			err = i.run(stop, file)
			return errors.Join(i.printed.endIfAny(), i.finish(err))
		})
	}
	return c
}

// inputOf opens the file that is named, or stdin.
func inputOf(stdin io.Reader, args []string) (io.ReadCloser, error) {
	if len(args) == 0 || args[0] == "-" {
		return io.NopCloser(stdin), nil
	}
	file, err := os.Open(args[0])
	return file, usage(err)
}

func importedLetterListing() listing[relay.ImportedLetter] {
	return listing[relay.ImportedLetter]{name: func(l relay.ImportedLetter) string { return l.ID }, columns: []column[relay.ImportedLetter]{
		{header: "ID", cell: func(l relay.ImportedLetter) any { return l.ID }},
		{header: "QUEUE", cell: func(l relay.ImportedLetter) any { return l.Queue }},
		{header: "KNOWN", cell: func(l relay.ImportedLetter) any { return l.Known }},
		{header: "SEQUENCE", cell: func(l relay.ImportedLetter) any { return l.Sequence }, wide: true},
	}}
}

// letterImporter reads exported letters line by line.
type letterImporter struct {
	send    func(relay.ExportedLetter) (relay.ImportedLetter, error)
	printed *rows[relay.ImportedLetter]
	note    func(format string, args ...any)

	made, known, failed int
	last                error
}

// run ends with what keeps it from reading on.
func (i *letterImporter) run(stop context.Context, from io.Reader) error {
	lines := bufio.NewScanner(from)
	lines.Buffer(make([]byte, 0, 64<<10), relay.MaxExportLine)
	line := 0
	for lines.Scan() {
		line++
		if stop.Err() != nil {
			return errInterrupted
		}
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		if err := i.line(lines.Bytes()); err != nil {
			if i.last = err; ofNoLetter(err) {
				return fmt.Errorf("line %d: %w", line, err)
			}
			i.failed++
			i.note("line %d: %v", line, err)
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return relay.Refuse(relay.CodeTooLarge, "line %d has more than %d bytes, so it is no exported letter", line+1, relay.MaxExportLine)
	}
	return lines.Err()
}

func (i *letterImporter) line(text []byte) error {
	var x relay.ExportedLetter
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&x); err != nil {
		return relay.Refuse(relay.CodeMalformed, "this is no exported letter: %s", err.Error())
	}
	done, err := i.send(x)
	if err != nil {
		return err
	}
	if done.Known {
		i.known++
	} else {
		i.made++
	}
	return i.printed.add(done)
}

// finish says what was done and decides how the command ends.
func (i *letterImporter) finish(err error) error {
	i.note("%d dead letters imported, %d were there already, %d failed", i.made, i.known, i.failed)
	if err != nil && !errors.Is(err, errInterrupted) {
		i.note("%v", err)
	}
	switch {
	case err == nil && i.failed == 0:
		return nil
	case err != nil:
		i.note("ended early; the same command again goes on")
	}
	if i.made+i.known > 0 || errors.Is(err, errInterrupted) {
		return silentError{exitPartly}
	}
	return silentError{exitCode(errors.Join(err, i.last))}
}

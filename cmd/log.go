package cmd

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/rs/zerolog"
)

// newLog makes the one logger of a process; it writes to stderr.
func newLog(l Log, w io.Writer) zerolog.Logger {
	level, err := zerolog.ParseLevel(l.Level)
	if err != nil {
		level = zerolog.InfoLevel // checked before
	}
	if l.format(w) == "console" {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: time.TimeOnly, NoColor: true}
	}
	return zerolog.New(w).Level(level).With().Timestamp().Logger()
}

// format is what was asked for, or what suits the reader.
func (l Log) format(w io.Writer) string {
	switch {
	case l.Format != "":
		return l.Format
	case isTerminal(w):
		return "console"
	default:
		return "json"
	}
}

// announce writes the one line of a start, whatever the level: plain text for
// people, with its fields for machines.
func announce(l Log, log zerolog.Logger, w io.Writer, line string, fields map[string]any) {
	if l.format(w) == "json" {
		log.Log().Fields(fields).Msg(line) // no level: a quieter log does not hide it
		return
	}
	_, _ = fmt.Fprintln(w, line) // stderr may be closed; the relay runs all the same
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

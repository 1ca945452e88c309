package cmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"

	"github.com/theforeman/foreman-relay/broker"
	"github.com/theforeman/foreman-relay/cmd/spool"
	"github.com/theforeman/foreman-relay/relay"
)

// progressEvery is after how many files an import says how far it is.
const progressEvery = 1000

// importer takes files from a spool, one after the other: read, send, and only
// when the relay has it, move. Whatever ends it between two of these steps, the
// next run meets the file again, and the relay its key.
type importer struct {
	dir   *spool.Dir
	path  string
	queue relay.Queue
	keep  bool // do not move
	send  func(ctx context.Context, m relay.Submission, name string) (relay.Receipt, error)
	taken func(name string, r relay.Receipt) error // nil: nothing to do
	note  func(format string, args ...any)

	count struct{ taken, replayed, damaged, left int }
	wrong bool // something was left because of an error
}

// run takes all entries. An error means that the rest was not looked at.
func (i *importer) run(ctx context.Context, entries iter.Seq[spool.Entry]) error {
	for e := range entries {
		if ctx.Err() != nil {
			return errInterrupted
		}
		if err := i.take(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

var errInterrupted = errors.New("interrupted")

func (i *importer) take(ctx context.Context, e spool.Entry) error {
	if !e.HoldsMessage() {
		i.leave(e, e.Err)
		return nil
	}
	file, ok := i.read(e)
	if !ok {
		return nil
	}
	m, err := e.Message(file.Body)
	if err == nil {
		m.Queue = i.queue
		return i.hand(ctx, e, file, m)
	}
	i.count.damaged++
	i.wrong = true
	i.note("%s is damaged and stays: %v", e.Name, err)
	return nil
}

// read reads a file; false when it stays, which has been told, or is gone.
func (i *importer) read(e spool.Entry) (*spool.File, bool) {
	file, err := i.dir.Read(e.Name, limitOf(e.Route))
	switch {
	case errors.Is(err, fs.ErrNotExist): // another import or the old proxy has it
	case errors.Is(err, spool.ErrForeign):
		e.Stays = err.Error()
		i.leave(e, nil)
	case err != nil:
		i.leave(e, err)
	}
	return file, err == nil
}

// hand gives a message to the relay and moves its file.
func (i *importer) hand(ctx context.Context, e spool.Entry, file *spool.File, m relay.Submission) error {
	receipt, err := i.send(ctx, m, e.Name)
	switch {
	case err != nil && ofThisFile(err):
		i.leave(e, fmt.Errorf("the relay refuses it: %w", err))
		return nil
	case err != nil && ctx.Err() != nil:
		return errInterrupted
	case err != nil:
		return err
	}
	if receipt.Replayed {
		i.count.replayed++
	} else {
		i.count.taken++
	}
	if !i.keep {
		if err := i.dir.Move(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			i.wrong = true
			i.note("%s is taken, but stays where it is: %v; run the import again, the relay knows it", e.Name, err)
		}
	}
	if n := i.count.taken + i.count.replayed; n%progressEvery == 0 {
		i.note("%d files so far, now at %s", n, e.Name)
	}
	if i.taken == nil {
		return nil
	}
	return i.taken(e.Name, receipt)
}

// ofThisFile: another file may fare better.
func ofThisFile(err error) bool {
	switch relay.CodeOf(err) {
	case relay.CodeMalformed, relay.CodeInvalid, relay.CodeTooLarge, relay.CodeUnsupportedMediaType, relay.CodeKeyConflict,
		relay.CodeInFlight, relay.CodeConflict:
		return true
	default:
		return false
	}
}

func (i *importer) leave(e spool.Entry, err error) {
	i.count.left++
	if err == nil {
		i.note("%s stays: %s", e.Name, e.Stays)
		return
	}
	i.wrong = true
	i.note("%s stays: %v", e.Name, err)
}

// finish prints what is still to be printed and the summary, and decides how
// the command ends.
func (i *importer) finish(err error, printRest func() error, did string) error {
	if printErr := printRest(); printErr != nil {
		return errors.Join(err, printErr)
	}
	c := i.count
	i.note("%d %s, %d known to the relay already, %d damaged, %d left", c.taken, did, c.replayed, c.damaged, c.left)
	if err != nil {
		const again = "nothing is lost: what was not taken is still in %s; run the same command again%s"
		switch code := relay.CodeOf(err); {
		case errors.Is(err, errInterrupted):
			i.note("interrupted; "+again, i.path, "")
			return silentError{exitPartly}
		case code == relay.CodeStorageFull, code == relay.CodeQuotaFull, code == relay.CodeTooManyRequests:
			i.note("%v; "+again, err, i.path, " when there is room")
			return silentError{exitPartly}
		default:
			i.note(again, i.path, "")
			return err
		}
	}
	if i.wrong {
		return silentError{exitPartly}
	}
	return nil
}

// limitOf is how large a file may be, in bytes.
func limitOf(route string) int64 {
	if limit := foremanRoute(route).MaxBody; limit > 0 {
		return min(limit, broker.DefaultMaxBody)
	}
	return broker.DefaultMaxBody
}

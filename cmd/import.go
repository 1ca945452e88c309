package cmd

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/spf13/cobra"

	"github.com/theforeman/foreman-relay/cmd/spool"
	"github.com/theforeman/foreman-relay/handlers"
	"github.com/theforeman/foreman-relay/relay"
)

// The plugins whose spools can be taken over.
const (
	fromOpenSCAP = "smart-proxy-openscap"
	fromReports  = "smart-proxy-reports"
)

var importSources = []string{fromOpenSCAP, fromReports}

const importHelp = `Take over what sits in the spool directory of a smart proxy plugin, each file as a message, the oldest of a host first.

A file is moved to DIR/imported once its message is stored; nothing is deleted. Whatever interrupts the import, run it again: every file has a key, so that nothing is stored twice.
Stop what sends from the spool before: the cron job smart-proxy-openscap-send, or the smart proxy itself.

smart-proxy-openscap: DIR is its spooldir. Of a file that is not what its name says nothing is taken.
smart-proxy-reports: DIR is its spool_dir; todo is taken. With --include-fail also fail, with --include-done also done. done holds what Foreman has refused, which was never sent again; with keep_reports set it holds what was delivered as well, and Foreman stores a host report that comes twice twice.

More in docs/import.md.`

// importOptions are the flags of import.
type importOptions struct {
	from, queue              string
	dryRun, keep             bool
	includeFail, includeDone bool
}

func importCommand(p *program) *cobra.Command {
	c := &cobra.Command{Use: "import --from PLUGIN DIR", Short: "Take over what sits in the spool directory of a smart proxy plugin", Args: takes(1, "one spool directory"),
		Long: importHelp,
		Example: "  foreman-relay import --from smart-proxy-openscap /var/spool/foreman-proxy/openscap --dry-run\n" +
			"  foreman-relay import --from smart-proxy-reports /var/lib/foreman-proxy/reports -o jsonl > receipts.jsonl",
		ValidArgsFunction: onlyFirst(func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		})}
	var o importOptions
	f := c.Flags()
	f.StringVar(&o.from, "from", "", "the `PLUGIN` whose spool it is: "+strings.Join(importSources, " or "))
	f.StringVar(&o.queue, "queue", relay.Queue{Organization: relay.DefaultOrganization, Destination: relay.ForemanDestination}.String(), "into this `QUEUE`, ORGANIZATION/DESTINATION")
	f.BoolVar(&o.dryRun, "dry-run", false, "say what would be taken, and change nothing")
	f.BoolVar(&o.keep, "keep", false, "leave the files where they are; after a week (limits.record_window) the relay knows them no more")
	f.BoolVar(&o.includeFail, "include-fail", false, "of smart-proxy-reports: take the files in fail too")
	f.BoolVar(&o.includeDone, "include-done", false, "of smart-proxy-reports: take the files in done too")
	operatorFlags(c)
	complete(c, "from", known(importSources))
	complete(c, "queue", p.completeQueues)
	c.RunE = func(c *cobra.Command, args []string) error { return p.importSpool(c, o, args[0]) }
	return c
}

func (p *program) importSpool(c *cobra.Command, o importOptions, path string) error {
	queue, err := parseQueueArg(o.queue)
	if err != nil {
		return err
	}
	entries, mark, err := o.source()
	if err != nil {
		return err
	}
	return p.ask(c, func(ctx context.Context, client *handlers.Client, out *printer) error {
		dir, err := openSpool(path, o.from, mark)
		if err != nil {
			return err
		}
		defer dir.Close()
		i := &importer{dir: dir, path: path, queue: queue, keep: o.keep || o.dryRun, note: p.note}
		ctx, stop := untilSignal(ctx)
		defer stop()
		if o.dryRun {
			return i.plan(ctx, entries(dir), out)
		}
		return i.takeOver(ctx, entries(dir), client, out)
	})
}

// plan is an import without a relay.
func (i *importer) plan(ctx context.Context, entries iter.Seq[spool.Entry], out *printer) error {
	planned := &rows[plannedFile]{out: out, listing: plannedListing()}
	i.send = func(_ context.Context, m relay.Submission, name string) (relay.Receipt, error) {
		return relay.Receipt{}, planned.add(plannedFile{File: name, Route: m.Route, Path: m.Path, Bytes: len(m.Body)})
	}
	return i.finish(i.run(ctx, entries), planned.end, "would be taken")
}

func (i *importer) takeOver(ctx context.Context, entries iter.Seq[spool.Entry], client *handlers.Client, out *printer) error {
	if !i.keep {
		if err := i.dir.Prepare(); err != nil {
			return fmt.Errorf("%s cannot be made in %s, where what was taken goes: %w; run it as a user who may, or with --keep", spool.Imported, i.path, err)
		}
	}
	receipts := &rows[importedFile]{out: out, listing: importedListing()}
	i.send = func(ctx context.Context, m relay.Submission, _ string) (relay.Receipt, error) {
		return client.Enqueue(ctx, m)
	}
	i.taken = func(name string, r relay.Receipt) error { return receipts.add(importedFile{File: name, Receipt: r}) }
	return i.finish(i.run(ctx, entries), receipts.end, "taken")
}

// source is how the spool is listed, and the directory by which it is known.
func (o importOptions) source() (entries func(*spool.Dir) iter.Seq[spool.Entry], mark string, err error) {
	switch {
	case o.from == fromReports:
		return spool.Reports(spool.ReportsOptions{Fail: o.includeFail, Done: o.includeDone}), spool.ReportsMark, nil
	case o.from != fromOpenSCAP:
		return nil, "", usage(fmt.Errorf("--from is %q; choose %s", o.from, strings.Join(importSources, " or ")))
	case o.includeFail || o.includeDone:
		return nil, "", usage(fmt.Errorf("--include-fail and --include-done are for --from %s: the spool of %s has no such directories", fromReports, fromOpenSCAP))
	default:
		return spool.OpenSCAP, spool.OpenSCAPMark, nil
	}
}

func openSpool(path, from, mark string) (*spool.Dir, error) {
	dir, err := spool.Open(path)
	if err != nil {
		return nil, usage(err)
	}
	if !dir.Has(mark) {
		dir.Close()
		return nil, relay.Refuse(relay.CodeNotFound, "%s holds no directory %s, so it is no spool of %s (or nothing was ever spooled there); name the one in its settings", path, mark, from)
	}
	return dir, nil
}

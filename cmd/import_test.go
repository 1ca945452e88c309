package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/cmd/spool"
	"github.com/theforeman/foreman-relay/relay"
)

// spoolFile puts a file into a spool directory and returns its name there.
func spoolFile(t *testing.T, dir, name, body string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600))
	return name
}

// spoolARF spools a report as smart_proxy_openscap does.
func spoolARF(t *testing.T, dir, host, policy, date, body string) string {
	t.Helper()
	return spoolFile(t, dir, strings.Join([]string{"arf", host, policy, date, relay.DigestOf([]byte(body))}, "/"), body)
}

func (p *process) accepted() uint64 {
	var q relay.QueueStatus
	p.read(&q, "queue", "show", "default/foreman")
	return q.Accepted
}

// receipts are the lines that an import has printed.
func receipts(t *testing.T, lines string) (all []importedFile) {
	t.Helper()
	for line := range strings.Lines(lines) {
		var f importedFile
		require.NoError(t, json.Unmarshal([]byte(line), &f), line)
		all = append(all, f)
	}
	return all
}

func TestImportOpenSCAP(t *testing.T) {
	p, dir := startServe(t), t.TempDir()
	names := []string{spoolARF(t, dir, "Web.example.com", "2", "100", "BZh1"), spoolARF(t, dir, "Web.example.com", "1", "200", "BZh2"),
		spoolARF(t, dir, "db.example.com", "1", "50", "BZh3")}
	out, errs, code := p.ask("import", "--from", "smart-proxy-openscap", dir, "-o", "jsonl")
	require.Zero(t, code, errs)
	require.Equal(t, "foreman-relay: 3 taken, 0 known to the relay already, 0 damaged, 0 left\n", errs)
	all := receipts(t, out)
	require.Len(t, all, 3)
	for i, f := range all {
		require.Equal(t, names[i], f.File)
		require.Equal(t, relay.Accepted, f.State)
		require.NoFileExists(t, filepath.Join(dir, f.File))
		require.FileExists(t, filepath.Join(dir, "imported", f.File))
	}
	var s relay.MessageStatus
	p.read(&s, "message", "show", all[0].ID)
	require.Equal(t, []string{"arf", "web.example.com", "arf\x1fweb.example.com\x1f2\x1f" + relay.DigestOf([]byte("BZh1"))}, []string{s.Route, s.Lane, s.Key})

	out, errs, code = p.ask("import", "--from", "smart-proxy-openscap", dir)
	require.Zero(t, code, errs)
	require.Equal(t, "ID  STATE  REPLAYED  FILE\n", out)
	require.EqualValues(t, 3, p.accepted())
}

// A kill after the receipt and before the move leaves what --keep leaves: the
// next run meets known keys, and moves.
func TestImportAgain(t *testing.T) {
	p, scap, reports := startServe(t), t.TempDir(), t.TempDir()
	spoolARF(t, scap, "web", "1", "100", "BZh1")
	facts := spoolFile(t, reports, "todo/rmkq1a1-ansible_facts", `{"name":"web","facts":{"a":"b"}}`)
	report := spoolFile(t, reports, "todo/rmkq1a2-report", hostReport("web"))
	for from, dir := range map[string]string{"smart-proxy-openscap": scap, "smart-proxy-reports": reports} {
		out, errs, code := p.ask("import", "--from", from, dir, "--keep", "-o", "jsonl")
		require.Zero(t, code, errs)
		require.NoDirExists(t, filepath.Join(dir, "imported"))
		again, errs, code := p.ask("import", "--from", from, dir, "-o", "jsonl")
		require.Zero(t, code, errs)
		require.Contains(t, errs, " 0 taken, ")
		first, second := receipts(t, out), receipts(t, again)
		require.Len(t, second, len(first))
		for i := range first {
			require.Equal(t, first[i].ID, second[i].ID)
			require.False(t, first[i].Replayed)
			require.True(t, second[i].Replayed)
		}
	}
	require.EqualValues(t, 3, p.accepted())
	require.FileExists(t, filepath.Join(reports, "imported", facts))
	require.FileExists(t, filepath.Join(reports, "imported", report))
}

// What came by both ways is one message.
func TestImportAndEdgeAgreeOnKeys(t *testing.T) {
	p, dir := startServe(t), t.TempDir()
	status, id := p.post("/api/v2/host_reports", hostReport("web"))
	require.Equal(t, 202, status)
	spoolFile(t, dir, "todo/rmkq1a2-report", hostReport("web"))
	out, errs, code := p.ask("import", "--from", "smart-proxy-reports", dir, "-o", "jsonl")
	require.Zero(t, code, errs)
	require.Contains(t, errs, "0 taken, 1 known")
	require.Equal(t, id, receipts(t, out)[0].ID)
}

func TestImportLeavesWhatIsWrong(t *testing.T) {
	p, dir := startServe(t), t.TempDir()
	damaged := spoolARF(t, dir, "web", "1", "100", "BZh1")
	spoolFile(t, dir, damaged, "BZh")
	notBzip2 := spoolARF(t, dir, "web", "1", "200", "<arf/>")
	large := spoolARF(t, dir, "web", "1", "300", "BZh"+strings.Repeat("x", 8<<20))
	pipe := "arf/web/1/400/" + relay.DigestOf([]byte("pipe"))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "arf/web/1/400"), 0o700))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, pipe), 0o600))
	good := spoolARF(t, dir, "web", "1", "500", "BZh5")
	out, errs, code := p.ask("import", "--from", "smart-proxy-openscap", dir, "-q")
	require.Equal(t, exitPartly, code, errs)
	require.Len(t, strings.Fields(out), 1)
	require.Contains(t, errs, damaged+" is damaged and stays: its content has the SHA-256")
	require.Contains(t, errs, notBzip2+" stays: the relay refuses it: the body does not begin with \"BZh\"")
	require.Contains(t, errs, large+" stays: too large")
	require.Contains(t, errs, pipe+" stays: nothing of this spool's: a special file")
	require.Contains(t, errs, "1 taken, 0 known to the relay already, 1 damaged, 3 left\n")
	for _, name := range []string{damaged, notBzip2, large} {
		require.FileExists(t, filepath.Join(dir, name))
	}
	require.FileExists(t, filepath.Join(dir, "imported", good))
	require.EqualValues(t, 1, p.accepted())
}

// Only what stays because of an error makes the import partly done.
func TestImportOfReports(t *testing.T) {
	p, dir := startServe(t), t.TempDir()
	spoolFile(t, dir, "todo/rmkq1a1-report", hostReport("web"))
	spoolFile(t, dir, "temp/rmkq1a2-report", `{"host_`)
	spoolFile(t, dir, "todo/readme", "x")
	failed := spoolFile(t, dir, "fail/rmkq1a3-report", hostReport("failed"))
	lost := spoolFile(t, dir, "done/rmkq1a4-report", hostReport("lost"))
	_, errs, code := p.ask("import", "--from", "smart-proxy-reports", dir)
	require.Zero(t, code, errs)
	require.Contains(t, errs, "done stays: 1 files, which are taken with --include-done only\n")
	require.Contains(t, errs, "1 taken, 0 known to the relay already, 0 damaged, 4 left\n")
	_, errs, code = p.ask("import", "--from", "smart-proxy-reports", dir, "--include-fail", "--include-done")
	require.Zero(t, code, errs)
	require.FileExists(t, filepath.Join(dir, "imported", failed))
	require.FileExists(t, filepath.Join(dir, "imported", lost))
	require.EqualValues(t, 3, p.accepted())

	refused := spoolFile(t, dir, "todo/rmkq1a5-report", `{"host_report":{}}`)
	_, errs, code = p.ask("import", "--from", "smart-proxy-reports", dir)
	require.Equal(t, exitPartly, code, errs)
	require.Contains(t, errs, refused+" stays: the relay refuses it: Foreman would refuse this for ever")
}

func TestImportDryRun(t *testing.T) {
	dir := t.TempDir()
	good := spoolARF(t, dir, "web", "1", "100", "BZh1")
	damaged := spoolARF(t, dir, "web", "1", "200", "BZh2")
	spoolFile(t, dir, damaged, "BZ")
	out, errs, code := cli(t, "import", "--from", "smart-proxy-openscap", dir, "--dry-run", "-o", "json", "--admin-socket", "/nowhere")
	require.Equal(t, exitPartly, code, errs)
	require.JSONEq(t, `[{"file":"`+good+`","route":"arf","path":"/api/v2/compliance/arf_reports/web/1/100","bytes":4}]`, out)
	require.Contains(t, errs, "1 would be taken, 0 known to the relay already, 1 damaged, 0 left\n")
	require.FileExists(t, filepath.Join(dir, good))
	require.NoDirExists(t, filepath.Join(dir, "imported"))
}

func TestImportWithoutARelay(t *testing.T) {
	dir := t.TempDir()
	name := spoolARF(t, dir, "web", "1", "100", "BZh1")
	out, errs, code := cli(t, "import", "--from", "smart-proxy-openscap", dir, "--admin-socket", "/nowhere/admin.sock", "-q")
	require.Equal(t, exitUnavailable, code, errs)
	require.Empty(t, out)
	require.Contains(t, errs, "no relay answers on /nowhere/admin.sock")
	require.Contains(t, errs, "what was not taken is still in "+dir+"; run the same command again\n")
	require.FileExists(t, filepath.Join(dir, name))
}

// A full queue ends the import, and says so; what was taken is taken.
func TestImportIntoAFullQueue(t *testing.T) {
	p, dir := startServe(t, "--config", writeFile(t, "limits: {quota: 1MiB}\n")), t.TempDir()
	for _, date := range []string{"1", "2", "3", "4"} {
		spoolARF(t, dir, "web", "1", date, "BZh"+date+strings.Repeat("x", 400<<10))
	}
	_, errs, code := p.ask("import", "--from", "smart-proxy-openscap", dir)
	require.Equal(t, exitPartly, code, errs)
	require.Contains(t, errs, "queue default/foreman is full: what waits in it has to be delivered first, or its quota raised; nothing is lost")
	require.Contains(t, errs, "run the same command again when there is room\n")
	require.Contains(t, errs, "2 taken, 0 known to the relay already, 0 damaged, 0 left\n")
	require.EqualValues(t, 2, p.accepted())
	kept, err := filepath.Glob(filepath.Join(dir, "arf/web/1/*/*"))
	require.NoError(t, err)
	require.Len(t, kept, 2)
}

func TestImportWrongCalls(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{dir}, exitUsage, "--from is \"\"; choose smart-proxy-openscap or smart-proxy-reports"},
		{[]string{"--from", "puppet", dir}, exitUsage, "--from is \"puppet\""},
		{[]string{"--from", fromReports}, exitUsage, "takes one spool directory"},
		{[]string{"--from", fromReports, dir, "--queue", "x"}, exitUsage, "\"x\" is not a queue"},
		{[]string{"--from", fromOpenSCAP, dir, "--include-done"}, exitUsage, "are for --from smart-proxy-reports"},
		{[]string{"--from", fromOpenSCAP, filepath.Join(dir, "none")}, exitUsage, "the spool directory cannot be opened"},
		{[]string{"--from", fromOpenSCAP, dir}, exitNotFound, "holds no directory arf"},
		{[]string{"--from", fromReports, dir}, exitNotFound, "holds no directory todo"},
	} {
		out, errs, code := cli(t, append([]string{"import"}, c.args...)...)
		require.Equal(t, c.code, code, "%v: %s", c.args, errs)
		require.Empty(t, out)
		require.Contains(t, errs, c.says)
	}
}

func TestImportIntoAnotherQueue(t *testing.T) {
	p, dir := startServe(t, "--config", writeFile(t, "organizations: [A/B]\n")), t.TempDir()
	spoolARF(t, dir, "web", "1", "100", "BZh1")
	_, errs, code := p.ask("import", "--from", "smart-proxy-openscap", dir, "--queue", "nobody/foreman")
	require.Equal(t, exitNotFound, code, errs)
	require.Contains(t, errs, "there is no queue nobody/foreman")
	_, errs, code = p.ask("import", "--from", "smart-proxy-openscap", dir, "--queue", "A/B/foreman")
	require.Zero(t, code, errs)
	require.Zero(t, p.accepted())
}

// hostReport is a host report as smart_proxy_reports makes it.
func hostReport(host string) string {
	return `{"host_report":{"format":"puppet","version":1,"host":"` + host + `","reported_at":"2026-01-01 00:00:00 UTC","proxy":"proxy.example.com",` +
		`"body":"{}","keywords":[],"change":0,"nochange":1,"failure":0}}`
}

// A signal ends an import between two files.
func TestImportInterrupted(t *testing.T) {
	path := t.TempDir()
	first := spoolARF(t, path, "web", "1", "100", "BZh1")
	second := spoolARF(t, path, "web", "1", "200", "BZh2")
	dir, err := spool.Open(path)
	require.NoError(t, err)
	defer dir.Close()
	for name, c := range map[string]struct {
		receipt error // of the file under way when the signal comes
		want    string
	}{
		"the relay has answered": {nil, "1 taken, 0 known to the relay already, 0 damaged, 0 left"},
		"nobody knows":           {relay.Refuse(relay.CodeUnavailable, "given up"), "0 taken, 0 known to the relay already, 0 damaged, 0 left"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, signal := context.WithCancel(t.Context())
			var notes []string
			sent := 0
			i := &importer{dir: dir, path: path, keep: true, note: func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) },
				send: func(context.Context, relay.Submission, string) (relay.Receipt, error) {
					sent++
					signal()
					return relay.Receipt{}, c.receipt
				}}
			err := i.finish(i.run(ctx, spool.OpenSCAP(dir)), func() error { return nil }, "taken")
			require.Equal(t, exitPartly, exitCode(err))
			require.Equal(t, 1, sent)
			require.Equal(t, []string{c.want, "interrupted; nothing is lost: what was not taken is still in " + path + "; run the same command again"}, notes)
			require.FileExists(t, filepath.Join(path, first))
			require.FileExists(t, filepath.Join(path, second))
		})
	}
}

package spool

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"path"
	"regexp"
	"slices"
	"strconv"

	"github.com/theforeman/foreman-relay/relay"
)

// The spool of smart_proxy_reports: one directory a state, and in it a file a
// message, whose name is the time in seconds and the nanoseconds since the start
// of the machine, both in base 36, and what it is
// (lib/smart_proxy_reports/spooled_http_client.rb, 1.0.0).
const (
	temp = "temp" // being written
	todo = "todo" // to be sent
	done = "done" // delivered; and what Foreman has refused, by a mistake
	fail = "fail" // refused by Foreman, if the mistake is ever corrected
)

// spooled has seconds of six digits: from 1972 to 2038.
var spooled = regexp.MustCompile(`^([0-9a-z]{6})([0-9a-z]{1,13})-(report|ansible_facts)$`)

// ReportsOptions say what is taken besides todo.
type ReportsOptions struct {
	Fail, Done bool
}

// ReportsMark is the directory by which such a spool is known.
const ReportsMark = todo

// Reports lists the spool of smart_proxy_reports, oldest first.
func Reports(o ReportsOptions) func(d *Dir) iter.Seq[Entry] {
	return func(d *Dir) iter.Seq[Entry] {
		return func(yield func(Entry) bool) {
			_, left := children(d, ".", func(name string) bool {
				return slices.Contains([]string{temp, todo, done, fail, Imported}, name)
			}, "only temp, todo, done and fail are here")
			var files []spooledFile
			for _, state := range []string{todo, fail, done} {
				names, more := children(d, state, spooled.MatchString, "files here are called TIME-report or TIME-ansible_facts")
				left = append(left, more...)
				if (state == fail && !o.Fail) || (state == done && !o.Done) {
					left = append(left, passedOver(state, len(names))...)
					continue
				}
				for _, name := range names {
					files = append(files, newSpooledFile(state, name))
				}
			}
			slices.SortFunc(files, spooledFile.compare)
			if !each(append(left, unfinished(d)...), yield) {
				return
			}
			for _, f := range files {
				if !yield(f.entry()) {
					return
				}
			}
		}
	}
}

// passedOver tells of what nobody has asked for.
func passedOver(state string, n int) []Entry {
	if n == 0 {
		return nil
	}
	return []Entry{{Name: state, Stays: fmt.Sprintf("%d files, which are taken with --include-%s only", n, state)}}
}

// unfinished tells of what was being written when the old proxy ended.
func unfinished(d *Dir) (left []Entry) {
	names, left := children(d, temp, func(string) bool { return true }, "")
	for _, name := range names {
		left = append(left, Entry{Name: path.Join(temp, name), Stays: "it was never finished: the old proxy writes it now, or was interrupted"})
	}
	return left
}

// spooledFile is a file by the parts of its name.
type spooledFile struct {
	state, name    string
	seconds, nanos uint64
	kind           string
}

func newSpooledFile(state, name string) spooledFile {
	parts := spooled.FindStringSubmatch(name)
	f := spooledFile{state: state, name: name, kind: parts[3]}
	f.seconds, _ = strconv.ParseUint(parts[1], 36, 64) // 6 and 13 digits fit, but for the largest of 13,
	f.nanos, _ = strconv.ParseUint(parts[2], 36, 64)   // for which it is the largest number
	return f
}

func (f spooledFile) compare(g spooledFile) int {
	return cmp.Or(cmp.Compare(f.seconds, g.seconds), cmp.Compare(f.nanos, g.nanos), cmp.Compare(f.name, g.name), cmp.Compare(f.state, g.state))
}

func (f spooledFile) entry() Entry {
	e := Entry{Name: path.Join(f.state, f.name), Route: "hostreport", message: f.report}
	if f.kind == "ansible_facts" {
		e.Route, e.message = "facts", f.facts
	}
	return e
}

// report has the key that the relay derives of every host report, its content.
func (f spooledFile) report(body []byte) (relay.Submission, error) {
	return jsonMessage(body, "/api/v2/host_reports", "")
}

// facts have no key at the relay, where each upload counts; of a spool the same
// file is the same upload.
func (f spooledFile) facts(body []byte) (relay.Submission, error) {
	return jsonMessage(body, "/api/v2/hosts/facts", "smart-proxy-reports:"+f.name+":"+relay.DigestOf(body))
}

func jsonMessage(body []byte, to, key string) (relay.Submission, error) {
	if !json.Valid(body) {
		return relay.Submission{}, errors.New("it is not JSON: it is damaged, or was cut off when it was written")
	}
	return relay.Submission{Path: to, Key: key, ContentType: "application/json"}, nil
}

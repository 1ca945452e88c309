package spool

import (
	"cmp"
	"fmt"
	"iter"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/theforeman/foreman-relay/relay"
)

// The spool of smart_proxy_openscap: arf/HOST/POLICY/DATE/SHA256, with the time
// in Unix seconds; each file is a report as the host has sent it, bzip2
// (lib/smart_proxy_openscap/storage.rb and storage_fs.rb, 0.12.1).
const (
	arfRoot  = "arf"
	arfRoute = "arf"
	// spoolLock is an ordinary file, which its sender makes and removes; one that
	// was killed leaves it (bin/smart-proxy-openscap-send).
	spoolLock = "spool.lock"
	// OpenSCAPMark is the directory by which such a spool is known.
	OpenSCAPMark = arfRoot
)

var (
	number = regexp.MustCompile(`^[0-9]{1,18}$`)
	sha256 = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// arf is one report.
type arf struct {
	host, policy, digest string
	date                 uint64 // of the directory
	sent                 uint64 // as Foreman is told
	done                 bool   // taken over by an earlier run
}

func (a arf) name() string {
	return path.Join(arfRoot, a.host, a.policy, strconv.FormatUint(a.date, 10), a.digest)
}

// OpenSCAP lists the spool of smart_proxy_openscap: host by host, and of each
// the reports by their time.
func OpenSCAP(d *Dir) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		top, left := children(d, ".", func(name string) bool {
			return name == arfRoot || name == Imported || name == spoolLock
		}, "only "+arfRoot+" and "+spoolLock+" are here")
		if slices.Contains(top, spoolLock) {
			left = append(left, Entry{Name: spoolLock, Stays: d.lockNote()})
		}
		hosts, more := children(d, arfRoot, func(string) bool { return true }, "")
		if !each(append(left, more...), yield) {
			return
		}
		for _, host := range hosts {
			if !each(hostEntries(d, host), yield) {
				return
			}
		}
	}
}

func (d *Dir) lockNote() string {
	since := ""
	if info, err := d.root.Lstat(spoolLock); err == nil {
		since = " at " + info.ModTime().UTC().Format(time.RFC3339)
	}
	return "smart-proxy-openscap-send has made it" + since + ": it is sending now, or was killed then; stop its cron job before the import"
}

// hostEntries are the reports of one host, and what else is in its directory.
// Foreman keeps one report by host and second: of two that the spool has in one
// second (of two policies), the second is sent with the next one. What earlier
// runs have taken over counts, so that each run gives the same seconds.
func hostEntries(d *Dir, host string) []Entry {
	reports, entries := reportsBelow(d, "", host)
	done, _ := reportsBelow(d, Imported, host)
	for i := range done {
		done[i].done = true
	}
	reports = append(reports, done...)
	slices.SortFunc(reports, func(a, b arf) int {
		return cmp.Or(cmp.Compare(a.date, b.date), cmp.Compare(a.policy, b.policy), cmp.Compare(a.digest, b.digest))
	})
	var last uint64
	for i, r := range reports {
		again := i > 0 && r.name() == reports[i-1].name() // put back by hand
		if !again {
			last = max(r.date, last+1)
		}
		r.sent = last
		if !r.done {
			entries = append(entries, Entry{Name: r.name(), Route: arfRoute, message: r.message})
		}
	}
	return entries
}

// reportsBelow are the reports of a host below a directory of the spool's.
func reportsBelow(d *Dir, below, host string) (reports []arf, left []Entry) {
	at := path.Join(below, arfRoot, host)
	policies, more := children(d, at, number.MatchString, "directories here are numbers of policies")
	left = append(left, more...)
	for _, policy := range policies {
		dates, more := children(d, path.Join(at, policy), number.MatchString, "directories here are times in seconds")
		left = append(left, more...)
		for _, text := range dates {
			digests, more := children(d, path.Join(at, policy, text), sha256.MatchString, "files here are called by their SHA-256")
			left = append(left, more...)
			date, err := strconv.ParseUint(text, 10, 64)
			if err != nil || strconv.FormatUint(date, 10) != text {
				left = append(left, foreign(path.Join(at, policy, text), "no time in seconds"))
				continue
			}
			for _, digest := range digests {
				reports = append(reports, arf{host: host, policy: policy, digest: digest, date: date})
			}
		}
	}
	return reports, left
}

// message is for the path to which the relay delivers a host's own ARF report,
// so that lane and key are the same; the names of hosts are lower-cased as there.
func (a arf) message(body []byte) (relay.Submission, error) {
	if is := relay.DigestOf(body); is != a.digest {
		return relay.Submission{}, fmt.Errorf("its content has the SHA-256 %s, not that of its name: it is damaged, or still being written", is)
	}
	host := strings.ToLower(strings.TrimSpace(a.host))
	return relay.Submission{Path: fmt.Sprintf("/api/v2/compliance/arf_reports/%s/%s/%d", url.PathEscape(host), a.policy, a.sent),
		ContentType: "text/xml", ContentEncoding: "x-bzip2"}, nil
}

// children are the names in a directory that fit, and entries for what does not.
func children(d *Dir, dir string, fits func(string) bool, what string) (names []string, left []Entry) {
	all, err := d.names(dir)
	if err != nil {
		return nil, []Entry{stays(dir, err)}
	}
	for _, name := range all {
		if fits(name) {
			names = append(names, name)
		} else {
			left = append(left, foreign(path.Join(dir, name), what))
		}
	}
	return names, left
}

func each(entries []Entry, yield func(Entry) bool) bool {
	for _, e := range entries {
		if !yield(e) {
			return false
		}
	}
	return true
}

package spool

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

func TestOpenSCAPByHostAndTime(t *testing.T) {
	m := makeSpool(t)
	want := []string{
		m.arf("a.example.com", "10", "999", "BZh1"), // before 1000, as a number
		m.arf("a.example.com", "9", "1000", "BZh2"),
		m.arf("a.example.com", "9", "2000", "BZh3"),
		m.arf("b.example.com", "1", "5", "BZh4"),
	}
	names, staying := told(OpenSCAP(m.Dir))
	require.Equal(t, want, names)
	require.Empty(t, staying)
}

func TestOpenSCAPMessage(t *testing.T) {
	m := makeSpool(t)
	name := m.arf("Web01.Example.COM", "5", "1700000000", "BZh91AY")
	got := m.messages(OpenSCAP(m.Dir))[name]
	require.Equal(t, relay.Submission{Route: "arf", Path: "/api/v2/compliance/arf_reports/web01.example.com/5/1700000000",
		ContentType: "text/xml", ContentEncoding: "x-bzip2", Body: []byte("BZh91AY")}, got)

	odd := m.arf("a b%2f", "5", "7", "BZhodd")
	path := m.messages(OpenSCAP(m.Dir))[odd].Path
	require.Equal(t, "/api/v2/compliance/arf_reports/a%20b%252f/5/7", path)
	require.NoError(t, relay.CheckPath(path))
}

// Foreman keeps one report by host and second. Two policies in one second get
// two, and the same ones after an import that took one of them.
func TestOpenSCAPSecondsOfAHostAreItsOwn(t *testing.T) {
	m := makeSpool(t)
	names := []string{m.arf("a", "1", "100", "BZh1"), m.arf("a", "2", "100", "BZh2"), m.arf("a", "1", "101", "BZh3"), m.arf("a", "1", "200", "BZh4")}
	other := m.arf("b", "1", "100", "BZh5")
	dates := func() (all []string) {
		messages := m.messages(OpenSCAP(m.Dir))
		for _, name := range append(names, other) {
			if s, ok := messages[name]; ok {
				all = append(all, s.Path[strings.LastIndexByte(s.Path, '/')+1:])
			}
		}
		return all
	}
	require.Equal(t, []string{"100", "101", "102", "200", "100"}, dates())
	f, err := m.Read(names[0], 100)
	require.NoError(t, err)
	require.NoError(t, m.Move(f))
	require.Equal(t, []string{"101", "102", "200", "100"}, dates())
	m.arf("a", "1", "100", "BZh1") // put back by hand
	require.Equal(t, []string{"100", "101", "102", "200", "100"}, dates())
}

func TestOpenSCAPDamage(t *testing.T) {
	m := makeSpool(t)
	half := m.arf("a", "1", "100", "BZh-whole")
	m.write(half, "BZh-who")
	empty := m.arf("a", "1", "100", "")
	for e := range OpenSCAP(m.Dir) {
		f, err := m.Read(e.Name, 100)
		require.NoError(t, err)
		_, err = e.Message(f.Body)
		require.ErrorContains(t, err, map[string]string{half: "not that of its name", empty: "it is empty"}[e.Name])
	}
}

func TestOpenSCAPLeavesWhatIsNotItsOwn(t *testing.T) {
	digest := relay.DigestOf([]byte("x"))
	m := makeSpool(t, "spool.lock", "notes.txt", "arf/file", "arf/a/x/1/"+digest, "arf/a/1/soon/"+digest, "arf/a/1/007/"+digest, "arf/a/1/7/"+digest[1:],
		"arf/a/1/7/"+strings.ToUpper(digest), "arf/a/2")
	require.NoError(t, os.MkdirAll(m.at("arf/d/1/9/"+digest), 0o700))
	require.NoError(t, os.Symlink(m.at("arf/a"), m.at("arf/c")))
	good := m.arf("a", "1", "7", "BZh")
	names, staying := told(OpenSCAP(m.Dir))
	require.ElementsMatch(t, []string{good, "arf/d/1/9/" + digest}, names) // the latter is found out when it is read
	for name, says := range map[string]string{"spool.lock": "was killed then; stop its cron job", "notes.txt": "only arf", "arf/file": "a file where directories are",
		"arf/a/x": "numbers of policies", "arf/a/1/soon": "times in seconds", "arf/a/1/007": "no time", "arf/a/1/7/" + digest[1:]: "SHA-256",
		"arf/a/1/7/" + strings.ToUpper(digest): "SHA-256", "arf/c": "symbolic link", "arf/a/2": "a file where directories are"} {
		require.Contains(t, staying[name].Stays, says, name)
		require.NoError(t, staying[name].Err, name)
		delete(staying, name)
	}
	require.Empty(t, staying)
	_, err := m.Read("arf/d/1/9/"+digest, 100)
	require.ErrorIs(t, err, ErrForeign)
}

func TestWhatCannotBeListedIsAnError(t *testing.T) {
	m := makeSpool(t, "arf/a/1/7/x", "arf/a/1/8/x")
	m.max = 1
	_, staying := told(OpenSCAP(m.Dir))
	require.ErrorContains(t, staying["arf/a/1"].Err, "more than 1 files")
}

func TestAnIterationMayEndEarly(t *testing.T) {
	m := makeSpool(t, "zz")
	m.arf("a", "1", "1", "BZh1")
	m.arf("a", "1", "2", "BZh2")
	m.arf("b", "1", "1", "BZh3")
	for most := range 4 {
		n := 0
		for e := range OpenSCAP(m.Dir) {
			require.NotEmpty(t, filepath.Base(e.Name))
			if n++; n > most {
				break
			}
		}
		require.Equal(t, most+1, n)
	}
}

package spool

import (
	"iter"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/theforeman/foreman-relay/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// made is a spool directory of a test.
type made struct {
	t    *testing.T
	path string
	*Dir
}

func makeSpool(t *testing.T, files ...string) made {
	t.Helper()
	m := made{t: t, path: t.TempDir()}
	for _, f := range files {
		m.write(f, "content of "+f)
	}
	dir, err := Open(m.path)
	require.NoError(t, err)
	t.Cleanup(dir.Close)
	m.Dir = dir
	return m
}

func (m made) at(name string) string { return filepath.Join(m.path, name) }

func (m made) write(name, text string) {
	m.t.Helper()
	require.NoError(m.t, os.MkdirAll(filepath.Dir(m.at(name)), 0o700))
	require.NoError(m.t, os.WriteFile(m.at(name), []byte(text), 0o600))
}

// arf stores a report as the plugin does and returns its name.
func (m made) arf(host, policy, date, body string) string {
	name := filepath.Join("arf", host, policy, date, relay.DigestOf([]byte(body)))
	m.write(name, body)
	return name
}

// told divides entries into the messages to take and what stays.
func told(entries iter.Seq[Entry]) (names []string, staying map[string]Entry) {
	staying = map[string]Entry{}
	for e := range entries {
		if e.HoldsMessage() {
			names = append(names, e.Name)
		} else {
			staying[e.Name] = e
		}
	}
	return names, staying
}

// messages are those of all files, by name.
func (m made) messages(entries iter.Seq[Entry]) map[string]relay.Submission {
	all := map[string]relay.Submission{}
	for e := range entries {
		if !e.HoldsMessage() {
			continue
		}
		f, err := m.Read(e.Name, 1<<20)
		require.NoError(m.t, err)
		s, err := e.Message(f.Body)
		require.NoError(m.t, err)
		all[e.Name] = s
	}
	return all
}

package cmd

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// runOver runs over letters that were chosen by a filter, or named.
func runOver(stop context.Context, named bool, ids string, do func(string) error) (done []string, told string, code int) {
	var notes strings.Builder
	r := &lettersRun{chosen: chosenLetters{ids: strings.Fields(ids), named: named}, did: "replayed", pace: newPace(0),
		note: func(format string, args ...any) { fmt.Fprintf(&notes, format+"\n", args...) },
		do: func(id string) error {
			done = append(done, id)
			return do(id)
		}}
	r.run(stop)
	err := r.finish()
	if text := message(err); text != "" {
		notes.WriteString(text + "\n")
	}
	return done, notes.String(), exitCode(err)
}

// How a run over many letters ends: with all, with some that failed, or early
// with what is left, which the same command goes on with.
func TestARunOverLetters(t *testing.T) {
	fails := func(which map[string]relay.Code) func(string) error {
		return func(id string) error {
			if code := which[id]; code != "" {
				return relay.Refuse(code, "because")
			}
			return nil
		}
	}
	for name, c := range map[string]struct {
		ids   string
		named bool
		fails map[string]relay.Code
		done  string
		told  string
		code  int
	}{
		"all":                       {"a b c", false, nil, "a b c", "replayed 3 of 3 dead letters, 0 failed, 0 left\n", exitOK},
		"one":                       {"a", true, nil, "a", "", exitOK},
		"one that fails":            {"a", true, map[string]relay.Code{"a": relay.CodeConflict}, "a", "because\n", exitConflict},
		"some fail":                 {"a b c", true, map[string]relay.Code{"b": relay.CodeNotFound}, "a b c", "b: because\nreplayed 2 of 3 dead letters, 1 failed, 0 left\n", exitPartly},
		"all fail":                  {"a b", true, map[string]relay.Code{"a": relay.CodeNotFound, "b": relay.CodeNotFound}, "a b", "a: because\nb: because\nreplayed 0 of 2 dead letters, 2 failed, 0 left\n", exitNotFound},
		"somebody else was faster":  {"a b c", false, map[string]relay.Code{"b": relay.CodeNotFound}, "a b c", "replayed 2 of 3 dead letters, 0 failed, 0 left\n", exitOK},
		"the queue is full":         {"a b c", false, map[string]relay.Code{"b": relay.CodeStorageFull}, "a b", "because\nreplayed 1 of 3 dead letters, 0 failed, 2 left\nended early; the same command again goes on\n", exitPartly},
		"the relay does not answer": {"a b", false, map[string]relay.Code{"a": relay.CodeUnavailable}, "a", "because\nreplayed 0 of 2 dead letters, 0 failed, 2 left\nended early; the same command again goes on\n", exitUnavailable},
	} {
		done, told, code := runOver(t.Context(), c.named, c.ids, fails(c.fails))
		require.Equal(t, c.done, strings.Join(done, " "), name)
		require.Equal(t, c.told, told, name)
		require.Equal(t, c.code, code, name)
	}
}

// An interrupt ends a run between two letters.
func TestAnInterruptedRunOverLetters(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done, told, code := runOver(ctx, false, "a b c d", func(id string) error {
		if id == "b" {
			stop()
		}
		return nil
	})
	require.Equal(t, []string{"a", "b"}, done)
	require.Equal(t, "replayed 2 of 4 dead letters, 0 failed, 2 left\nended early; the same command again goes on\n", told)
	require.Equal(t, exitPartly, code)
}

func TestPace(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	var slept []time.Duration
	p := newPace(4)
	p.now = func() time.Time { return now }
	p.sleep = func(_ context.Context, d time.Duration) {
		slept = append(slept, d)
		now = now.Add(d)
	}
	for range 3 {
		require.True(t, p.wait(t.Context()))
	}
	now = now.Add(time.Minute)
	require.True(t, p.wait(t.Context()))
	require.True(t, p.wait(t.Context()))
	require.Equal(t, []time.Duration{0, 250 * time.Millisecond, 250 * time.Millisecond, 0, 250 * time.Millisecond}, slept, "what is late is not made up for")
	ended, stop := context.WithCancel(t.Context())
	stop()
	require.False(t, p.wait(ended))
	require.False(t, newPace(0.001).wait(ended), "nobody waits out an interval after an interrupt")

	for text, want := range map[string]float64{"": 0, "10": 10, "2.5/s": 2.5, "30/m": 0.5, "3600/h": 1} {
		rate, err := parseRate(text)
		require.NoError(t, err, text)
		require.InDelta(t, want, rate, 1e-9, text)
	}
	for _, text := range []string{"0", "-1", "x", "1/d", "NaN", "Inf", "10001", "/s"} {
		_, err := parseRate(text)
		require.Equal(t, exitUsage, exitCode(err), text)
	}
}

func TestParseEdit(t *testing.T) {
	e, err := parseEdit([]string{"Accept=", "X-A=b=c"}, []string{`/a=b=1`, `/s="x=1"`, `={}`})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"Accept": "", "X-A": "b=c"}, e.Header)
	require.Equal(t, []relay.Replacement{{Pointer: "/a=b", Value: []byte("1")}, {Pointer: "/s", Value: []byte(`"x=1"`)}, {Pointer: "", Value: []byte("{}")}}, e.Set)
}

// An import goes on behind a line that is refused, and not behind one that shows
// that no other would fare better.
func TestAnImportOfLines(t *testing.T) {
	for name, c := range map[string]struct {
		lines string
		ids   string
		told  string
		code  int
	}{
		"all":          {"{\"id\":\"a\"}\n\n{\"id\":\"b\"}", "a b", "2 dead letters imported, 0 were there already, 0 failed\n", exitOK},
		"known":        {`{"id":"known"}`, "known", "0 dead letters imported, 1 were there already, 0 failed\n", exitOK},
		"cut off":      {"{\"id\":\"a\"}\n{\"id\":", "a", "line 2: this is no exported letter: unexpected EOF\n1 dead letters imported, 0 were there already, 1 failed\n", exitPartly},
		"refused":      {"{\"id\":\"conflict\"}\n{\"id\":\"a\"}", "conflict a", "line 1: because\n1 dead letters imported, 0 were there already, 1 failed\n", exitPartly},
		"all refused":  {`{"id":"conflict"}`, "conflict", "line 1: because\n0 dead letters imported, 0 were there already, 1 failed\n", exitConflict},
		"unknown":      {`{"ident":"a"}`, "", "line 1: this is no exported letter: json: unknown field \"ident\"\n0 dead letters imported, 0 were there already, 1 failed\n", exitUsage},
		"no more room": {"{\"id\":\"a\"}\n{\"id\":\"storage-full\"}\n{\"id\":\"b\"}", "a storage-full", "1 dead letters imported, 0 were there already, 0 failed\nline 2: because\nended early; the same command again goes on\n", exitPartly},
		"too long":     {"{\"id\":\"a\"}\n" + strings.Repeat("x", relay.MaxExportLine+1), "a", "1 dead letters imported, 0 were there already, 0 failed\nline 2 has more than 97867092 bytes, so it is no exported letter\nended early; the same command again goes on\n", exitPartly},
	} {
		var out bytes.Buffer
		var told strings.Builder
		var ids []string
		i := &letterImporter{printed: &rows[relay.ImportedLetter]{out: &printer{w: &out, format: asName}, listing: importedLetterListing()},
			note: func(format string, args ...any) { fmt.Fprintf(&told, format+"\n", args...) },
			send: func(x relay.ExportedLetter) (relay.ImportedLetter, error) {
				ids = append(ids, x.ID)
				if code := relay.Code(x.ID); code == relay.CodeConflict || code == relay.CodeStorageFull {
					return relay.ImportedLetter{}, relay.Refuse(code, "because")
				}
				return relay.ImportedLetter{ID: x.ID, Known: x.ID == "known"}, nil
			}}
		err := i.finish(i.run(t.Context(), strings.NewReader(c.lines)))
		require.Equal(t, c.ids, strings.Join(ids, " "), name)
		require.Equal(t, c.told, told.String(), name)
		require.Equal(t, c.code, exitCode(err), name)
	}
}

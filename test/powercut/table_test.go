package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The verdict: a mode that promises must lose nothing, and os must lose
// something, else the test has shown nothing.
func TestVerdict(t *testing.T) {
	ten := &visit{acked: make([]stored, 10)}
	for name, c := range map[string]struct {
		after  visit
		loses  bool
		missed string
	}{
		"all there":         {visit{}, false, ""},
		"one lost":          {visit{lost: []note{{}}}, false, "lost something"},
		"ledger broken":     {visit{ledger: "x"}, false, "lost something"},
		"does not start":    {visit{failed: "x"}, false, "lost something"},
		"os loses":          {visit{lost: []note{{}}}, true, ""},
		"os does not start": {visit{failed: "x"}, true, ""},
		"os loses nothing":  {visit{}, true, "cannot see losses"},
	} {
		tab := &table{}
		tab.row(1, ten, &c.after)
		if c.missed == "" {
			require.Empty(t, tab.verdict(c.loses), name)
		} else {
			require.Contains(t, tab.verdict(c.loses), c.missed, name)
		}
	}
	nothing := &table{}
	nothing.row(1, &visit{}, &visit{})
	require.Contains(t, nothing.verdict(false), "nothing was answered")
}

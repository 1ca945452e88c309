package test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/theforeman/foreman-relay"

// arrows is the house: who may import whom. Anything else is refused.
var arrows = map[string][]string{
	"cmd/foreman-relay":     {"cmd"},
	"cmd":                   {"cmd/pki", "cmd/spool", "handlers", "broker", "relay", "relay/foreman", "relay/outgoing", "relay/deliveries", "relay/seal"},
	"cmd/pki":               {},
	"cmd/spool":             {"relay"},
	"handlers":              {"relay", "schemas"},
	"broker":                {"relay"},
	"relay":                 {},
	"relay/foreman":         {"relay", "relay/outgoing"},
	"relay/outgoing":        {"relay"},
	"relay/deliveries":      {"relay"},
	"relay/seal":            {"relay"},
	"schemas":               {},
	"test":                  {},
	"test/clients":          {},
	"test/harness":          {"relay"},
	"test/foreman":          {},
	"test/foreman/stand-in": {"test/foreman"},
	"test/demo":             {"handlers", "relay", "test/foreman"},
	"test/bench":            {},
	"test/bench/baseline":   {},
	"test/powercut":         {"handlers", "relay", "test/foreman"},
}

// beyond is what each part of the domain must not know of the world.
var beyond = map[string][]string{
	"relay":            {"github.com/nats-io/", "github.com/labstack/"},
	"relay/foreman":    {"github.com/nats-io/", "github.com/labstack/"},
	"relay/outgoing":   {"github.com/nats-io/", "github.com/labstack/"},
	"relay/deliveries": {"github.com/nats-io/", "github.com/labstack/"},
	"relay/seal":       {"github.com/nats-io/", "github.com/labstack/"},
	"handlers":         {"github.com/nats-io/"},
	"broker":           {"github.com/labstack/"},
}

func TestImportsPointOneWay(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"/...").Output()
	require.NoError(t, err)
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	seen := 0
	for {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else {
			require.NoError(t, err)
		}
		seen++
		from := strings.TrimPrefix(p.ImportPath, module+"/")
		allowed, known := arrows[from]
		require.True(t, known, "package %s has no place in the map of the house", from)
		for _, to := range p.Imports {
			if ours, ok := strings.CutPrefix(to, module+"/"); ok {
				require.Contains(t, allowed, ours, "%s must not import %s", from, ours)
			}
			for _, prefix := range beyond[from] {
				require.False(t, strings.HasPrefix(to, prefix), "%s must not import %s", from, to)
			}
		}
	}
	require.Equal(t, len(arrows), seen, "the map names a package that is gone")
}

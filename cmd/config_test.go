package cmd

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

func TestYAMLErrorsNameFileLineAndKey(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string // after FILE:
	}{
		"misspelt":          {"listen: 127.0.0.1:1\nlimts:\n  quota: 1GiB\n", []string{`2: unknown key "limts"; did you mean "limits"?`}},
		"misspelt below":    {"limits:\n  quta: 1GiB\n", []string{`2: unknown key "limits.quta"; did you mean "limits.quota"?`}},
		"in a wrong place":  {"quota: 1GiB\n", []string{`1: unknown key "quota"; did you mean "limits.quota"?`}},
		"the nearer of two": {"tls:\n  crt: x\n", []string{`2: unknown key "tls.crt"; did you mean "tls.cert"?`}},
		"like nothing":      {"zebra: 1\n", []string{"1: unknown key \"zebra\"; `foreman-relay config show` prints all there are"}},
		"all at once": {"limits:\n  max_age: 30\n  max_attempts: many\nzebra: 1\n", []string{
			`2: limits.max_age is "30"; write a time with its unit`, `3: limits.max_attempts is "many"; write a whole number`, `4: unknown key "zebra"`}},
		"a size that is none":         {"limits:\n  quota: lots\n", []string{`2: limits.quota: "lots" is not a size`}},
		"a time that is none":         {"foreman: {attempt_timeout: soon}\n", []string{`1: foreman.attempt_timeout is "soon"`}},
		"a part of a number":          {"foreman:\n  concurrency: 1.5\n", []string{`2: foreman.concurrency is "1.5"; write a whole number`}},
		"a rate that is none":         {"foreman:\n  rate: fast\n", []string{`2: foreman.rate is "fast"; write a number, for example 2.5`}},
		"a weight that is none":       {"foreman:\n  weights:\n    ACME: much\n", []string{`3: foreman.weights.ACME is "much"; write a whole number`}},
		"weights without names":       {"foreman:\n  weights: [1, 2]\n", []string{"2: foreman.weights holds names and their values"}},
		"neither true nor false":      {"pass_through:\n  stale: \"no\"\n  enabled: maybe\n", []string{`2: pass_through.stale is "no"; write true or false`, `3: pass_through.enabled is "maybe"`}},
		"a number too large":          {"limits:\n  index_lane: 99999999999999999999\n", []string{`2: limits.index_lane is "99999999999999999999"`}},
		"a value for keys":            {"foreman: https://x\n", []string{"1: foreman holds keys of its own"}},
		"a value for a list":          {"organizations: x\n", []string{"1: organizations must be a list"}},
		"a list for a value":          {"listen: [1]\n", []string{"1: listen must be a single value"}},
		"keys for a value":            {"listen:\n  address: x\n", []string{"2: listen must be a single value"}},
		"keys in a list":              {"organizations:\n  - a\n  - b: c\n", []string{"3: organizations[1] must be a single value"}},
		"a list for everything":       {"- a\n", []string{"1: write keys and values here"}},
		"a key twice":                 {"listen: a\nlisten: b\n", []string{`2: mapping key "listen" already defined`}},
		"no YAML":                     {"listen: a: b\n", []string{"1: mapping value is not allowed"}},
		"a tab":                       {"limits:\n\tquota: 1\n", []string{"2: found character"}},
		"two documents":               {"listen: a\n---\nlisten: b\n", []string{"3: a second document"}},
		"a merge":                     {"<<: {listen: a}\n", []string{`1: unknown key "<<"`}},
		"a wrong type behind a label": {"foreman: &f\n  concurrency: x\n", []string{`2: foreman.concurrency is "x"`}},
	} {
		t.Run(name, func(t *testing.T) {
			path := writeFile(t, c.text)
			config := defaultConfig()
			err := config.readFile(path)
			require.Equal(t, exitUsage, exitCode(err))
			lines := strings.Split(err.Error(), "\n")
			require.Len(t, lines, len(c.want), err)
			for i, want := range c.want {
				require.True(t, strings.HasPrefix(lines[i], path+":"+want), "%s\nis not\n%s", lines[i], want)
			}
		})
	}
}

func TestAFileThatSetsNothingLeavesTheDefaults(t *testing.T) {
	for _, text := range []string{"", " \n", "# nothing\n", "~\n", "---\n", "---\n# nothing\n", "foreman:\nlimits:\n", "limits:\n  # quota: 1GiB\n", "limits:\n  quota:\n", "listen:\n", "routes:\n"} {
		config := defaultConfig()
		require.NoError(t, config.readFile(writeFile(t, text)), "%q", text)
		require.Equal(t, defaultConfig(), config, "%q", text)
	}
}

func TestAFileThatIsNotThere(t *testing.T) {
	config := defaultConfig()
	err := config.readFile("/nowhere/relay.yaml")
	require.Equal(t, exitUsage, exitCode(err))
	require.ErrorContains(t, err, "/nowhere/relay.yaml")
}

func TestWeightsAndRateAreRead(t *testing.T) {
	config := defaultConfig()
	require.NoError(t, config.readFile(writeFile(t, "organizations: [A/B]\nforeman:\n  rate: 0.5\n  burst: 2\n  weights:\n    A/B: 3\n")))
	require.NoError(t, config.check())
	gate := config.gate()
	require.Equal(t, 0.5, gate.Rate)
	require.Equal(t, 2, gate.Burst)
	require.Equal(t, map[string]int{"A/B": 3}, gate.Weights)
	require.Equal(t, config.Foreman.Concurrency, gate.Concurrency)
	require.Equal(t, relay.DefaultGateOptions().Failures, gate.Failures)
}

// Every key that `config show` prints can be read back, and is what it was.
func TestShownConfigurationCanBeRead(t *testing.T) {
	shown, errs, code := cli(t, "config", "show", "--listen", "127.0.0.1:9", "--attempt-timeout", "90s", "--concurrency", "3")
	require.Zero(t, code, errs)
	again, errs, code := cli(t, "config", "show", "--config", writeFile(t, shown))
	require.Zero(t, code, errs)
	require.Equal(t, shown, again)
	for _, want := range []string{"listen: 127.0.0.1:9\n", "attempt_timeout: 1m30s\n", "concurrency: 3\n", "quota: 10GiB\n", "max_age: 168h0m0s\n"} {
		require.Contains(t, shown, want)
	}
}

func TestJSONHoldsWhatTheYAMLHolds(t *testing.T) {
	out, errs, code := cli(t, "config", "show", "-o", "json")
	require.Zero(t, code, errs)
	var c struct {
		Listen        string         `json:"listen"`
		Organizations []string       `json:"organizations"`
		Foreman       map[string]any `json:"foreman"`
		Limits        map[string]any `json:"limits"`
	}
	require.NoError(t, json.Unmarshal([]byte(out), &c))
	require.Equal(t, "127.0.0.1:8008", c.Listen)
	require.NotNil(t, c.Organizations)
	require.Equal(t, "1m0s", c.Foreman["attempt_timeout"])
	require.Equal(t, "10GiB", c.Limits["quota"])
	require.Equal(t, "20s", c.Limits["stop_timeout"])
	require.Len(t, c.Limits, reflect.TypeFor[Limits]().NumField())

	_, errs, code = cli(t, "config", "show", "-o", "toml")
	require.Equal(t, exitUsage, code)
	require.Contains(t, errs, "choose yaml or json")
}

func TestPrecedence(t *testing.T) {
	file := writeFile(t, "listen: 127.0.0.1:1\nforeman: {concurrency: 2, attempt_timeout: 2s}\n")
	env := func(entries ...string) []string { return append(entries, "HOME=/home/x") }
	for name, c := range map[string]struct {
		env  []string
		args []string
		want string
	}{
		"default":                    {env(), nil, "127.0.0.1:8008 8 1m0s"},
		"file over default":          {env(), []string{"--config", file}, "127.0.0.1:1 2 2s"},
		"file of the environment":    {env("FOREMAN_RELAY_CONFIG=" + file), nil, "127.0.0.1:1 2 2s"},
		"environment over file":      {env("FOREMAN_RELAY_LISTEN=127.0.0.1:3", "FOREMAN_RELAY_CONCURRENCY=3"), []string{"--config", file}, "127.0.0.1:3 3 2s"},
		"flag over environment":      {env("FOREMAN_RELAY_LISTEN=127.0.0.1:3", "FOREMAN_RELAY_ATTEMPT_TIMEOUT=3s"), []string{"--config", file, "--listen", "127.0.0.1:4"}, "127.0.0.1:4 2 3s"},
		"flag over file":             {env(), []string{"--config", file, "--attempt-timeout", "4s"}, "127.0.0.1:1 2 4s"},
		"a flag at its default":      {env("FOREMAN_RELAY_CONCURRENCY=3"), []string{"--config", file, "--concurrency", "8"}, "127.0.0.1:1 8 2s"},
		"another command's variable": {env("FOREMAN_RELAY_BROKER=tls://x:1"), nil, "127.0.0.1:8008 8 1m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			out, errs, code := cliWith(t, c.env, append([]string{"config", "show", "-o", "json"}, c.args...)...)
			require.Zero(t, code, errs)
			var got struct {
				Listen  string
				Foreman struct {
					Concurrency int
					Timeout     string `json:"attempt_timeout"`
				}
			}
			require.NoError(t, json.Unmarshal([]byte(out), &got))
			require.Equal(t, c.want, fmt.Sprintf("%s %d %s", got.Listen, got.Foreman.Concurrency, got.Foreman.Timeout))
		})
	}
}

func TestWrongVariablesAreNamed(t *testing.T) {
	for entry, want := range map[string]string{
		"FOREMAN_RELAY_STATEDIR=/x":       "environment variable FOREMAN_RELAY_STATEDIR: there is no such setting",
		"FOREMAN_RELAY_=x":                "environment variable FOREMAN_RELAY_: there is no such setting",
		"FOREMAN_RELAY_CONCURRENCY=many":  `environment variable FOREMAN_RELAY_CONCURRENCY: invalid argument "many"`,
		"FOREMAN_RELAY_ATTEMPT_TIMEOUT=5": `environment variable FOREMAN_RELAY_ATTEMPT_TIMEOUT: invalid argument "5"`,
	} {
		out, errs, code := cliWith(t, []string{"HOME=/x", entry}, "config", "check")
		require.Equal(t, exitUsage, code, entry)
		require.Empty(t, out)
		require.True(t, strings.HasPrefix(errs, "foreman-relay: "+want), errs)
	}
}

func TestStateDirectoryAndSocketFollow(t *testing.T) {
	for name, c := range map[string]struct {
		env                   map[string]string
		stateDir, socket      string
		wantState, wantSocket string
	}{
		"home":       {map[string]string{"HOME": "/home/x"}, "", "", "/home/x/.local/state/foreman-relay", "/home/x/.local/state/foreman-relay/admin.sock"},
		"xdg":        {map[string]string{"HOME": "/home/x", "XDG_STATE_HOME": "/s"}, "", "", "/s/foreman-relay", "/s/foreman-relay/admin.sock"},
		"given":      {nil, "/d", "", "/d", "/d/admin.sock"},
		"both given": {nil, "/d", "/run/x.sock", "/d", "/run/x.sock"},
	} {
		config := Config{StateDir: c.stateDir, AdminSocket: c.socket}
		require.NoError(t, config.complete("foreman-relay", func(k string) string { return c.env[k] }), name)
		require.Equal(t, c.wantState, config.StateDir, name)
		require.Equal(t, c.wantSocket, config.AdminSocket, name)
	}
	_, errs, code := cliWith(t, nil, "config", "check")
	require.Equal(t, exitUsage, code)
	require.Equal(t, "foreman-relay: no state directory: HOME and XDG_STATE_HOME are not set; give --state-dir\n", errs)
}

func TestQueuesOfTheOrganizations(t *testing.T) {
	for name, c := range map[string]struct {
		organization string
		further      []string
		want         []string
	}{
		"nothing given":    {"default", nil, []string{"default/foreman"}},
		"another":          {"ACME", nil, []string{"default/foreman", "ACME/foreman"}},
		"further, twice":   {"ACME", []string{"B", "ACME", "default", "B"}, []string{"default/foreman", "ACME/foreman", "B/foreman"}},
		"title with slash": {"A/B", nil, []string{"default/foreman", "A/B/foreman"}},
	} {
		config := Config{Organization: c.organization, Organizations: c.further}
		var got []string
		for _, q := range config.queues() {
			require.Equal(t, relay.ForemanDestination, q.Destination)
			got = append(got, q.String())
		}
		require.Equal(t, c.want, got, name)
	}
}

func TestConfigCheck(t *testing.T) {
	out, errs, code := cli(t, "config", "check")
	require.Zero(t, code)
	require.Empty(t, out)
	require.Equal(t, "ok\n", errs)

	path := writeFile(t, "lisen: 127.0.0.1:1\n")
	out, errs, code = cli(t, "config", "check", "--config", path)
	require.Equal(t, exitUsage, code)
	require.Empty(t, out)
	require.Equal(t, "foreman-relay: "+path+`:1: unknown key "lisen"; did you mean "listen"?`+"\n", errs)
}

func TestAPasswordInTheURLIsRefusedAndNotShown(t *testing.T) {
	for _, args := range [][]string{{"config", "check"}, {"config", "show"}, {"serve", "--state-dir", filepath.Join(t.TempDir(), "s")}} {
		out, errs, code := cli(t, append(args, "--foreman-url", "https://me:sesame@foreman.example.com")...)
		require.Equal(t, exitUsage, code, args)
		require.NotContains(t, out+errs, "sesame")
		require.Contains(t, errs, "client certificate")
	}
}

func TestAWrongForemanIsToldBeforeAnythingIsMade(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	_, errs, code := cli(t, "serve", "--state-dir", dir, "--foreman-url", "ftp://x")
	require.Equal(t, exitUsage, code)
	require.Contains(t, errs, "https://HOST")
	_, err := os.Stat(dir)
	require.ErrorIs(t, err, os.ErrNotExist)
}

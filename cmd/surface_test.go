package cmd

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

// commands are all of them, by their path.
func commands(c *cobra.Command) map[string]*cobra.Command {
	all := map[string]*cobra.Command{c.CommandPath(): c}
	for _, s := range c.Commands() {
		for path, below := range commands(s) {
			all[path] = below
		}
	}
	return all
}

func root() *cobra.Command { return (&program{stdout: io.Discard, stderr: io.Discard}).root() }

func flagsOf(c *cobra.Command) []string {
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	slices.Sort(names)
	return names
}

// Scripts rely on these names: one that goes is a break.
func TestSurface(t *testing.T) {
	foreman := []string{"attempt-timeout", "concurrency", "foreman-ca", "foreman-cert", "foreman-key", "foreman-url"}
	serve := slices.Concat(foreman, []string{"admin-socket", "broker-cert", "broker-client-ca", "broker-key", "broker-listen", "config", "durability",
		"listen", "log-format", "log-level", "organization", "state-dir", "tls-cert", "tls-client-auth", "tls-client-ca", "tls-crl", "tls-key"})
	drain := slices.Concat(foreman, []string{"broker", "broker-ca", "broker-cert", "broker-key", "config", "destination", "log-format", "log-level", "state-dir"})
	operator := func(more ...string) []string {
		return append(more, "admin-socket", "color", "no-headers", "output", "quiet", "timeout")
	}
	letters := func(more ...string) []string {
		return append(operator(more...), "queue", "reason", "route", "host", "status", "since", "where", "limit")
	}
	want := map[string][]string{
		"serve": serve, "drain": drain, "config check": serve, "config show": append(slices.Clone(serve), "output"),
		"queue ls": operator("watch", "interval"), "queue show": operator(), "queue peek": operator("limit", "body"),
		"queue watch": operator("interval"), "queue pause": operator("reason"), "queue resume": operator(),
		"queue purge": operator("route", "host", "older-than", "dry-run", "yes"), "message wait": operator("for"), "message cancel": operator(),
		"message ls": operator("queue", "state", "route", "host", "since", "limit"), "message show": operator(), "message why": operator(),
		"dlq ls": letters(), "dlq show": operator("body"), "dlq discard": letters("dry-run", "yes"),
		"dlq replay": letters("dry-run", "yes", "rate", "set", "set-header"), "dlq top": letters(), "dlq export": letters(), "dlq import": operator(),
		"org ls": operator(), "org show": operator(), "org enable": operator("create"), "org disable": operator("why"),
		"org quota": operator("bytes", "messages", "message-bytes", "rate", "burst", "sender-rate", "sender-burst", "weight", "sealed"),
		"audit":     operator("queue", "since"), "completion": nil,
		"enqueue":   operator("route", "path", "key", "ordering-key", "content-type", "not-before", "expires", "priority"),
		"import":    operator("from", "queue", "dry-run", "keep", "include-fail", "include-done"),
		"register":  {"assign", "color", "config", "credentials", "foreman-ca", "foreman-url", "name", "no-headers", "output", "quiet", "timeout", "url"},
		"doctor":    append(slices.Clone(serve), "output", "timeout"),
		"pki init":  {"destination", "edge-ip", "edge-name", "host"},
		"pki issue": {"destination", "file", "host", "ip", "name", "use"}, "version": nil,
	}
	all := commands(root())
	for path, c := range all {
		if !c.HasSubCommands() {
			require.Contains(t, want, strings.TrimPrefix(path, "foreman-relay "), "a command that this table does not know")
		}
	}
	for path, flags := range want {
		slices.Sort(flags)
		c := all["foreman-relay "+path]
		require.NotNil(t, c, path)
		require.Equal(t, flags, slices.DeleteFunc(flagsOf(c), func(f string) bool { return f == "help" }), path)
	}
}

func TestEveryCommandExplainsItself(t *testing.T) {
	for path, c := range commands(root()) {
		require.NotEmpty(t, c.Short, path)
		if !c.HasSubCommands() {
			require.Contains(t, c.Example, path, path)
		}
		c.Flags().VisitAll(func(f *pflag.Flag) { require.NotEmpty(t, f.Usage, "%s --%s", path, f.Name) })
		out, errs, code := cli(t, append(strings.Fields(path)[1:], "--help")...)
		require.Zero(t, code, path)
		require.Empty(t, errs, path)
		require.Contains(t, out, "Usage:", path)
	}
}

// docs/cli.md is the manual: every command with its example, every flag of the
// filters, every form of output, every exit code.
func TestTheManual(t *testing.T) {
	text, err := os.ReadFile("../docs/cli.md")
	require.NoError(t, err)
	manual := string(text)
	for path, c := range commands(root()) {
		if !c.HasSubCommands() {
			require.Regexp(t, regexp.QuoteMeta("`"+path)+"[ `]", manual, "a row of the manual")
		}
	}
	operator := commands(root())["foreman-relay dlq replay"]
	operator.Flags().VisitAll(func(f *pflag.Flag) { require.Contains(t, manual, "`--"+f.Name, "a flag") })
	for _, format := range outputs {
		require.Contains(t, manual, "| `"+format+"` |", "a form of output")
	}
	for code := exitOK; code <= exitNotSent; code++ {
		require.Regexp(t, fmt.Sprintf(`(?m)^\| %d \|`, code), manual, "an exit code")
	}
}

func TestWrongCallsSayWhatToDo(t *testing.T) {
	for call, want := range map[string]string{
		"":                                "`foreman-relay` needs one of: ",
		"serv":                            "`foreman-relay` does not know \"serv\" (see `foreman-relay --help`)",
		"queue":                           "`foreman-relay queue` needs one of: ls, pause, peek, purge, resume, show, watch",
		"queue rm":                        "`foreman-relay queue` does not know \"rm\" (see `foreman-relay queue --help`)",
		"serve now":                       "`foreman-relay serve` does not know \"now\" (see `foreman-relay serve --help`)",
		"serve --nope":                    "unknown flag: --nope (see `foreman-relay serve --help`)",
		"serve --listen":                  "flag needs an argument: --listen (see `foreman-relay serve --help`)",
		"serve --concurrency x":           "invalid argument \"x\" for \"--concurrency\" flag",
		"queue show":                      "`foreman-relay queue show` takes one queue, as ORGANIZATION/DESTINATION (see `foreman-relay queue show --help`)",
		"queue show foreman":              "\"foreman\" is not a queue: write ORGANIZATION/DESTINATION, for example default/foreman",
		"queue ls -o xml":                 "--output is \"xml\"; choose one of table, wide, json, jsonl, yaml, csv, name",
		"queue ls -q -o json":             "--quiet prints names only, --output json more than that; choose one",
		"queue ls --color blue":           "--color is \"blue\"; choose one of auto, always, never",
		"queue ls -w -o csv":              "--output is \"csv\"; a watch prints table, wide or jsonl",
		"queue watch --interval 1ms":      "--interval is 1ms; it must be at least 100ms",
		"queue watch a/b c/d":             "`foreman-relay queue watch` takes one queue at most, as ORGANIZATION/DESTINATION",
		"queue pause":                     "`foreman-relay queue pause` takes one queue, as ORGANIZATION/DESTINATION",
		"queue peek a/b --limit 0":        "--limit is 0; it must be at least 1",
		"queue purge a/b":                 "purging a/b cannot be undone: add --yes, or see first how many there are with --dry-run",
		"queue purge a/b --older-than x":  "--older-than is \"x\"; write an age like 90m",
		"message cancel":                  "`foreman-relay message cancel` takes message ids",
		"message wait x --for 0s":         "--for is 0s; it must be more than nothing",
		"message why":                     "`foreman-relay message why` takes one message id",
		"message ls --since yesterday":    "--since is \"yesterday\"; write an age like 90m, 12h or 7d, or a time",
		"message ls --state lost":         "\"lost\" is not a state; choose one of scheduled, queued, delivering, waiting,",
		"dlq ls --where body~x":           "--where: \"body\" is not a field of a dead letter; the fields are attempts, content_type, destination,",
		"dlq ls --where reason":           "--where: \"reason\" is no condition: write FIELD=VALUE, FIELD!=VALUE or FIELD~SUBSTRING",
		"dlq replay x --reason rejected":  "`foreman-relay dlq replay` takes message ids or a filter, not both",
		"dlq discard --limit 3":           "`foreman-relay dlq discard` takes message ids, or a filter",
		"completion":                      "`foreman-relay completion` takes a shell: bash, zsh, fish or powershell",
		"completion tcsh":                 "`foreman-relay completion` does not know \"tcsh\"",
		"message show":                    "`foreman-relay message show` takes one message id",
		"dlq ls --limit 0":                "--limit is 0; it must be at least 1",
		"dlq ls --queue x":                "\"x\" is not a queue",
		"dlq replay":                      "`foreman-relay dlq replay` takes message ids",
		"dlq replay a --rate fast":        "--rate is \"fast\"; write how many a second, minute or hour, like 10/s or 30/m, at most 10000/s",
		"dlq replay a --rate 0":           "--rate is \"0\"",
		"dlq replay a --set /a=b":         "--set is \"/a=b\"; write POINTER=JSON",
		"dlq replay a --set-header A":     "--set-header is \"A\"; write NAME=VALUE",
		"dlq replay a --limit 0":          "--limit is 0; it must be at least 1",
		"dlq export a --reason rejected":  "`foreman-relay dlq export` takes message ids or a filter, not both",
		"dlq export -o json":              "--output is \"json\"; an export is always jsonl",
		"dlq export --limit 0":            "--limit is 0; it must be at least 1",
		"dlq import a b":                  "`foreman-relay dlq import` takes one file at most; none, or -, is stdin",
		"dlq import /nowhere":             "open /nowhere: no such file",
		"dlq discard a b":                 "discarding 2 dead letters cannot be undone; add --yes",
		"audit --queue x":                 "\"x\" is not a queue",
		"pki init":                        "`foreman-relay pki init` takes a directory",
		"pki issue x --use thing":         "a certificate for \"thing\" is not known: choose edge, drain or host",
		"drain":                           "a drain needs --broker",
		"drain --destination UP":          "destination \"UP\"",
		"serve --listen 0.0.0.0:1":        "listen 0.0.0.0:1 can be reached from other machines",
		"config check --durability maybe": "maybe",
	} {
		out, errs, code := cli(t, strings.Fields(call)...)
		require.Equal(t, exitUsage, code, "%s: %s", call, errs)
		require.Empty(t, out, call)
		require.Contains(t, errs, want, call)
		for line := range strings.Lines(errs) {
			require.True(t, strings.HasPrefix(line, "foreman-relay: "), "%s: %s", call, line)
		}
	}
}

func TestADrainNamesAllThatItNeeds(t *testing.T) {
	_, errs, code := cli(t, "drain")
	require.Equal(t, exitUsage, code)
	for _, flag := range []string{"--broker", "--broker-ca", "--broker-cert", "--broker-key", "--foreman-url"} {
		require.Contains(t, errs, "a drain needs "+flag+"\n")
	}
}

func TestVersion(t *testing.T) {
	out, errs, code := cli(t, "version")
	require.Zero(t, code)
	require.Empty(t, errs)
	require.Equal(t, "foreman-relay "+Version()+"\n", out)
}

func TestWithoutARelay(t *testing.T) {
	for _, call := range []string{"queue ls", "queue show default/foreman", "queue peek a/b", "queue pause a/b", "queue resume a/b", "queue watch", "queue ls -w",
		"message ls", "message show x", "message why x", "dlq ls", "dlq show x", "dlq replay x", "dlq replay --reason x", "dlq top", "dlq export", "dlq export x", "dlq discard x --yes", "audit", "enqueue default/foreman /dev/null"} {
		out, errs, code := cli(t, append(strings.Fields(call), "--admin-socket", "/nowhere/admin.sock")...)
		require.Equal(t, exitUnavailable, code, call)
		require.Empty(t, out, call)
		require.True(t, strings.HasPrefix(errs, "foreman-relay: no relay answers on /nowhere/admin.sock; start one with `foreman-relay serve`"), errs)
	}
}

func TestTheSocketOfAnOperatorsCommand(t *testing.T) {
	for name, c := range map[string]struct {
		env  []string
		args []string
		want string
	}{
		"nothing given":        {[]string{"HOME=/h"}, nil, "/h/.local/state/foreman-relay/admin.sock"},
		"the state directory":  {[]string{"FOREMAN_RELAY_STATE_DIR=/s"}, nil, "/s/admin.sock"},
		"its own variable":     {[]string{"FOREMAN_RELAY_STATE_DIR=/s", "FOREMAN_RELAY_ADMIN_SOCKET=/a"}, nil, "/a"},
		"the flag before them": {[]string{"FOREMAN_RELAY_ADMIN_SOCKET=/a"}, []string{"--admin-socket", "/b"}, "/b"},
	} {
		_, errs, code := cliWith(t, c.env, append([]string{"queue", "ls"}, c.args...)...)
		require.Equal(t, exitUnavailable, code, name)
		require.Contains(t, errs, "no relay answers on "+c.want+";", name)
	}
}

package cmd

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/theforeman/foreman-relay/relay"
)

// configured is the default configuration with a file over it.
func configured(t *testing.T, text string) Config {
	t.Helper()
	c := defaultConfig()
	require.NoError(t, c.readFile(writeFile(t, text)))
	require.NoError(t, c.check())
	return c
}

// What a route says is its own, all else is the general one's, and a route's own
// expiry stays unless it is given.
func TestThePolicyOfARoute(t *testing.T) {
	c := configured(t, `
limits: {max_attempts: 7, max_cycles: 5, first_delay: 3s}
routes:
  facts: {latest: true, expires: 6h, on_poison: discard, priority: bulk, max_body: 2MiB, quick_attempts: 2}
  report: {max_age: 48h, max_attempts: 4, max_cycles: 3, first_delay: 1s, cycle_delay: 2m, slow_delay: 3m, max_delay: 4m, on_poison: pause, latest: false, priority: urgent}
  callback: {max_age: 2h}
  built: {expires: 12h}
  message: {expires: 1h}
`)
	general, of := c.policy(), c.policies()
	require.Equal(t, 7, general.MaxAttempts)
	with := func(change func(*relay.Policy)) relay.Policy {
		p := general
		change(&p)
		return p
	}
	for route, want := range map[string]relay.Policy{
		"facts": with(func(p *relay.Policy) {
			p.Latest, p.MaxAge, p.Expires, p.OnPoison, p.QuickAttempts, p.MaxAttempts = true, 6*time.Hour, true, relay.PoisonDiscard, 2, 0
		}),
		"report": {MaxAge: 48 * time.Hour, MaxAttempts: 4, QuickAttempts: 3, MaxCycles: 3, FirstDelay: time.Second, CycleDelay: 2 * time.Minute,
			SlowDelay: 3 * time.Minute, MaxDelay: 4 * time.Minute, OnPoison: relay.PoisonPause},
		"callback": with(func(p *relay.Policy) { p.MaxAge = 2 * time.Hour }),
		"built":    with(func(p *relay.Policy) { p.MaxAge, p.Expires = 12*time.Hour, true }),
		"failed":   with(func(p *relay.Policy) { p.MaxAge, p.Expires = 6*time.Hour, true }),
		"message":  with(func(p *relay.Policy) { p.MaxAge, p.Expires = time.Hour, true }),
		"salt":     general.Once(),
		"arf":      general,
		"gone":     general,
	} {
		require.Equal(t, want, of(route), route)
	}
	seen := 0
	for _, r := range c.routes() {
		switch r.Name {
		case "facts":
			require.EqualValues(t, 2<<20, r.MaxBody)
			require.False(t, r.Urgent)
			seen++
		case "report":
			require.True(t, r.Urgent)
			require.EqualValues(t, 8<<20, r.MaxBody)
			seen++
		}
	}
	require.Equal(t, 2, seen)
	require.Equal(t, "facts", c.routes()[1].Name)
	require.Zero(t, func() int { c := defaultConfig(); return c.policy().MaxAttempts }())
}

func TestErrorsOfRoutesNameFileLineAndRoute(t *testing.T) {
	for text, want := range map[string]string{
		"routes:\n  fact: {latest: true}\n":              `2: routes: there is no route "fact"; the routes are report, facts, hostreport, ansible, puppet, salt, callback, built, failed, arf, arfreport, message`,
		"routes:\n  facts:\n    max_ag: 1h\n":            `3: unknown key "routes.facts.max_ag"; did you mean "routes.facts.max_age"?`,
		"routes:\n  facts:\n    latest: perhaps\n":       `3: routes.facts.latest is "perhaps"; write true or false`,
		"routes:\n  facts:\n    max_age: 5\n":            `3: routes.facts.max_age is "5"; write a time with its unit`,
		"routes:\n  facts:\n    max_attempts: several\n": `3: routes.facts.max_attempts is "several"; write a whole number`,
		"routes: [facts]\n":                              "1: routes holds a route a key",
		"routes:\n  facts: true\n":                       "2: routes.facts holds keys of its own",
	} {
		path := writeFile(t, text)
		_, errs, code := cli(t, "config", "check", "--config", path)
		require.Equal(t, exitUsage, code)
		require.True(t, strings.HasPrefix(errs, "foreman-relay: "+path+":"+want), "%s\nis not\n%s", errs, want)
	}
}

func TestBoundsOfRoutes(t *testing.T) {
	for text, want := range map[string]string{
		"facts: {max_age: 1s}":              "routes.facts.max_age is 1s; it must be from 1m0s to 2160h0m0s",
		"facts: {expires: 2161h}":           "routes.facts.expires is 2161h0m0s; it must be from 1m0s to 2160h0m0s",
		"facts: {max_attempts: 10001}":      "routes.facts.max_attempts is 10001; it must be from 1 to 10000",
		"facts: {quick_attempts: -1}":       "routes.facts.quick_attempts is -1; it must be from 1 to 100",
		"facts: {max_cycles: 1001}":         "routes.facts.max_cycles is 1001; it must be from 1 to 1000",
		"facts: {first_delay: 25h}":         "routes.facts.first_delay is 25h0m0s; it must be from 1ms to 24h0m0s",
		"facts: {cycle_delay: 25h}":         "routes.facts.cycle_delay is 25h0m0s; it must be from 1ms to 24h0m0s",
		"facts: {slow_delay: 25h}":          "routes.facts.slow_delay is 25h0m0s; it must be from 1ms to 24h0m0s",
		"facts: {max_delay: 1us}":           "routes.facts.max_delay is 1µs; it must be from 1ms to 24h0m0s",
		"facts: {max_body: 1}":              "routes.facts.max_body is 1B; it must be from 1KiB to",
		"ansible: {max_body: 5MiB}":         "routes.ansible.max_body is 5MiB; it must be from 1KiB to 4MiB",
		"puppet: {max_body: 5MiB}":          "routes.puppet.max_body is 5MiB; it must be from 1KiB to 4MiB",
		"facts: {on_poison: drop}":          `routes.facts.on_poison is "drop"; choose one of move pause discard`,
		"facts: {priority: high}":           `routes.facts.priority is "high"; choose one of urgent bulk`,
		"message: {max_body: 1MiB}":         "routes.message: max_body and priority are for routes of Foreman's clients",
		"message: {priority: urgent}":       "routes.message: max_body and priority are for routes of Foreman's clients",
		"facts: {}\nlimits: {on_poison: x}": `limits.on_poison is "x"; choose one of move pause discard`,
	} {
		_, errs, code := cli(t, "config", "check", "--config", writeFile(t, "routes:\n  "+text+"\n"))
		require.Equal(t, exitUsage, code, text)
		require.Contains(t, errs, want, text)
	}
	c := Config{Routes: map[string]RouteConfig{"zebra": {}}}
	require.ErrorContains(t, c.checkRoutes(), `there is no route "zebra"; the routes are report, facts`)
}

// What is shown of routes can be read back, and is what it was; JSON has it too.
func TestShownRoutesCanBeRead(t *testing.T) {
	text := "routes:\n  facts:\n    expires: 6h0m0s\n    on_poison: discard\n    latest: false\n    priority: bulk\n    max_body: 1MiB\n"
	shown, errs, code := cli(t, "config", "show", "--config", writeFile(t, text))
	require.Zero(t, code, errs)
	require.Contains(t, shown, text)
	again, errs, code := cli(t, "config", "show", "--config", writeFile(t, shown))
	require.Zero(t, code, errs)
	require.Equal(t, shown, again)
	shown, _, _ = cli(t, "config", "show", "-o", "json", "--config", writeFile(t, text))
	require.Contains(t, shown, `"latest": false`)
	shown, _, _ = cli(t, "config", "show")
	require.Contains(t, shown, "\nroutes: {}\n")
}

// The policy of a route is the drain's, in the edge's process and far away; only
// this route's messages are discarded, and an operator can see why.
func TestTheDrainHasThePolicyOfTheRoute(t *testing.T) {
	file := writeFile(t, "routes:\n  message: {on_poison: discard}\n")
	foreman := startForeman(t)
	ca, _, _ := certificates(t)
	certs := filepath.Dir(ca)
	far := startEdge(t, certs, "127.0.0.1:0")
	startProcess(t, append(drainArgs(t, certs, brokerOf(t, far), foreman.URL()), "--config", file)...)
	near := startServe(t, "--foreman-url", foreman.URL(), "--config", file)
	for name, p := range map[string]*process{"near": near, "far": far} {
		t.Run(name, func(t *testing.T) {
			_, id := p.post("/relay/v1/queues/default/foreman/messages", `{}`)
			p.awaitState(id, relay.Discarded)
			out, _, code := p.ask("message", "why", id)
			require.Zero(t, code)
			require.Contains(t, out, "discarded_by_policy, answer 404: rejected: ")
			out, _, _ = p.ask("dlq", "ls", "-q")
			require.Empty(t, out)
			_, errs, code := p.ask("audit")
			require.Zero(t, code, errs)
		})
	}
	_, errs, code := cli(t, append(drainArgs(t, certs, "127.0.0.1:1", foreman.URL()), "--config", writeFile(t, "routes: {facts: {on_poison: x}}\n"))...)
	require.Equal(t, exitUsage, code)
	require.Contains(t, errs, "routes.facts.on_poison is")
}

// How far ahead a message may be scheduled is its route's to say, also of the
// messages that are sent to a queue by name.
func TestTheEdgeHasThePolicyOfMessages(t *testing.T) {
	p := startServe(t, "--config", writeFile(t, "routes:\n  message: {max_age: 240h}\n"))
	body := writeFile(t, "{}")
	_, errs, code := p.ask("enqueue", "default/foreman", body, "--not-before", "200h")
	require.Zero(t, code, errs)
	_, errs, code = p.ask("enqueue", "default/foreman", body, "--not-before", "241h")
	require.Equal(t, exitUsage, code)
	require.Contains(t, errs, "further ahead than 240h0m0s, the maximum age of a message here")
}
